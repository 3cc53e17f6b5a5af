"""Run a function in several processes of one gloo group, and compare gradients."""

import multiprocessing
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

Gradients = dict[str, torch.Tensor]


def on_ranks(world: int, work: Callable[[], Any], out: Path) -> Any:
    """What ``work()`` returns on rank 0 of ``world`` processes; it must be loadable with ``weights_only``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_worker, args=(rank, world, port, work, out)) for rank in range(world)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(1200)
    assert all(process.exitcode == 0 for process in processes)
    return torch.load(out, weights_only=True)


def _worker(rank: int, world: int, port: int, work: Callable[[], Any], out: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    found = work()
    if rank == 0:
        torch.save(found, out)
    dist.destroy_process_group()


def averaged(**modules: torch.nn.Module) -> Gradients:
    """Gradients by name, averaged over the process group as DDP does; every parameter must have one."""
    result = {}
    for prefix, module in modules.items():
        for key, parameter in module.named_parameters():
            assert parameter.grad is not None, f"{prefix}.{key} has no gradient"
            gradient = parameter.grad.clone()
            if dist.is_initialized():
                dist.all_reduce(gradient)
                gradient /= dist.get_world_size()
            result[f"{prefix}.{key}"] = gradient
    return result


def worst_difference(one: Gradients, many: Gradients) -> float:
    """Of the parameters' relative differences; a parameter without a slope, such as a key's bias, is compared with a
    millionth of the steepest one."""
    scale = max(float(g.abs().max()) for g in one.values())
    assert one.keys() == many.keys() and scale > 0
    return max(float((one[k] - many[k]).norm() / max(float(one[k].norm()), 1e-6 * scale)) for k in one)
