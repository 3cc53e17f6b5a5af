"""A script in the place of the command line, forked as commands are; trials that run it, here and on a scheduler."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from mpma_lightning.lab import program
from mpma_lightning.lab.sweeps.command import stopping_together
from mpma_lightning.lab.sweeps.plan import Sweep
from mpma_lightning.lab.sweeps.progress import Progress
from mpma_lightning.lab.sweeps.runner import runner
from mpma_lightning.lab.sweeps.trial import Slot, Step, Trial

ROOT = Path(__file__).parents[3]
SCRIPT = """
import json, os, pathlib, signal, sys, time
word, folder, seed = sys.argv[1:4]
folder = pathlib.Path(folder)
with (folder / "starts").open("a") as file:
    file.write(word + "\\n")
(folder / "pid").write_text(str(os.getpid()))
time.sleep(600 if seed == "600" else 0.3)
starts = (folder / "starts").read_text().split()
if seed == "13" and len(starts) == 1:
    os.kill(os.getpid(), signal.SIGKILL)
if seed == "15" and len(starts) == 1:
    sys.exit(128 + signal.SIGTERM)
if seed == "99":
    print("error: the loss is not finite", file=sys.stderr)
    sys.exit(1)
row = {"protocol": "p", "task": "t", "dataset": "d", "seed": int(seed), "metrics": {"test/score": int(seed)}}
row |= {"config_sha256": "c", "declared": {"score": {"unit": "count", "headline": True}}}
name = "results.json" if word == "fit" else f"results_{word}.json"
(folder / name).write_text(json.dumps({**row, "weights_sha256": "w", "checkpoint_sha256": "w"}))
"""


def stands_for(script: Path) -> list[str]:
    """What to put in the place of ``program.SERVER``."""
    run = f"runpy.run_path({str(script)!r}, run_name='__main__')"
    return [sys.executable, "-c", f"import runpy\nfrom mpma_lightning.lab.warm import serve\nserve(lambda: {run})"]


def trials(top: Path, seeds: Sequence[int]) -> list[Trial]:
    """A pre-training, and a fit with its test, for each seed."""
    words = (Slot.RUN, Slot.SEED)
    fit, test = Step(("fit", *words), "c"), Step(("test", *words), "c")
    first = [Trial("a", "m", "", s, top / "a" / f"{s}", (fit,)) for s in seeds]
    second = [
        Trial("b", "m", "", s, top / "b" / f"{s}", (fit, test), f"a/m/seed_{s}", str(top / "a" / f"{s}")) for s in seeds
    ]
    return first + second


def run(top: Path, seeds: Sequence[int], workers: int = 2, scheduler: str | None = None) -> Progress:
    sweep = Sweep(Path("sweep.yaml"), top, trials=trials(top, seeds))
    with stopping_together(), runner(sweep, workers, scheduler) as made:
        return made.run(sweep.trials)


def call(
    script: Path,
    top: Path,
    seeds: Sequence[int],
    workers: int = 1,
    scheduler: str | None = None,
    server: Sequence[str] = (),
) -> None:
    """:func:`run` in a process of its own."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    program.SERVER = list(server) or stands_for(script)
    run(top, seeds, workers, scheduler)


def started(*arguments: Any) -> Any:
    process = multiprocessing.get_context("spawn").Process(target=call, args=arguments, daemon=True)
    process.start()
    return process


def starts(top: Path) -> dict[str, list[str]]:
    return {str(p.parent.relative_to(top)): p.read_text().split() for p in sorted(top.rglob("starts"))}


def once(seeds: Sequence[int]) -> dict[str, list[str]]:
    return {f"{stage}/{n}": words for stage, words in (("a", ["fit"]), ("b", ["fit", "test"])) for n in seeds}


def wait_for(condition: object, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def dask_cluster(folder: Path, script: Path, workers: int) -> Iterator[list[subprocess.Popen]]:
    """A scheduler, whose file is ``scheduler.json``, and the nannies of its workers, each a process."""
    (folder / "preload.py").write_text(
        f"from mpma_lightning.lab import program\nprogram.SERVER = {stands_for(script)!r}\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "5"}
    file, here = folder / "scheduler.json", ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
    file.unlink(missing_ok=True)
    worker = ["worker", "--nthreads", "1", "--death-timeout", "60", "--preload", str(folder / "preload.py")]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_" + name, *more, *here, "--scheduler-file", str(file)],
            cwd=folder, env=environment, stderr=subprocess.DEVNULL,
        )
        for name, *more in (["scheduler", "--port", "0"], *[worker] * workers)
    ]  # fmt: skip
    try:
        wait_for(file.is_file)
        yield processes
    finally:
        for process in reversed(processes):
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def worker_of(nanny: subprocess.Popen) -> psutil.Process:
    """The worker that a nanny has started."""
    children = psutil.Process(nanny.pid).children()
    (worker,) = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    return worker
