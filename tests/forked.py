"""Processes forked from the test, as torchrun would start them: no start pays for importing torch again."""

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from multiprocessing.process import BaseProcess

import torch

CONTEXT = multiprocessing.get_context("fork")


def start(world: int, work: Callable[[], int]) -> list[BaseProcess]:
    """``world`` processes that exit with what ``work`` returns; several find torchrun's variables."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world)}
    common |= {"LOCAL_WORLD_SIZE": str(world), "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test"}
    ranks = [{**common, "RANK": str(r), "LOCAL_RANK": str(r)} if world > 1 else {} for r in range(world)]
    processes = [CONTEXT.Process(target=_run, args=(environment, work)) for environment in ranks]
    for process in processes:
        process.start()
    return processes


def _run(environment: dict[str, str], work: Callable[[], int]) -> None:
    os.environ.update(environment)
    torch.set_num_threads(1)
    code = 1
    try:
        code = work()
    except BaseException:  # leaving at once would not show it
        traceback.print_exc()
        raise
    finally:
        os._exit(code)  # the test's own clean-up is not for its children


def end(processes: list[BaseProcess], patience: float) -> list[int | None]:
    """Exit codes; None for what still runs after ``patience`` seconds, which is then killed."""
    for process in processes:
        process.join(patience)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return codes
