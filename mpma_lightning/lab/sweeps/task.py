"""What a worker does for a trial: its commands, one after another, in its run folder, which no other worker has."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from distributed import get_worker

from data_modules.errors import UserError
from mpma_lightning.lab.program import LOG, Command, killed_by, last_error, start
from mpma_lightning.lab.sweeps.trial import Step, Trial

_RUNNING: dict[str, Command | None] = {}
"""What this process runs, by the key of the task; None while it is being started."""
_STOPPED: set[str] = set()


@dataclass(frozen=True)
class Outcome:
    """What became of a trial; ``reason`` where it is not done."""

    trial: str
    state: Literal["done", "failed", "stopped"]
    seconds: float = 0.0
    reason: str = ""


class Killed(Exception):
    """A signal ended the command; Dask starts the trial again, and it continues from its last checkpoint."""


@dataclass(frozen=True)
class Call:
    """One call of ``sweep``.

    Attributes:
        id: its own, at random.
        folder: its working directory, from which the paths of the trials count; all workers see it.
        slots: trials at a time on this machine, which share its threads and graphics cards; None: the workers were
            started elsewhere, with an environment of their own.
    """

    id: str
    folder: str
    slots: int | None

    def key(self, trial: Trial) -> str:
        """Name of the trial's task."""
        return f"{self.id}:{trial.id}"


def run_trial(trial: Trial, call: Call, parent: Outcome | None = None) -> Outcome:
    """Do what is left of ``trial``. Its weights come from that of ``parent``.

    Raises:
        Killed: a signal ended a command.
    """
    if parent is not None and parent.state != "done":
        return Outcome(trial.id, parent.state, reason=f"waits for {parent.trial}, which has not been done")
    begin, trial, key = time.monotonic(), replace(trial, base=Path(call.folder)), call.key(trial)
    state: Literal["done", "stopped"] = "done"
    with _claimed(trial.path, key) as lock:
        try:
            while key not in _STOPPED and (step := trial.next_step()) is not None:
                _run(trial, step, call, lock)
        except UserError as error:
            return Outcome(trial.id, "failed", time.monotonic() - begin, str(error))
        if key in _STOPPED:
            state = "stopped"
    return Outcome(trial.id, state, time.monotonic() - begin, "stopped; continues from its last checkpoint")


def _run(trial: Trial, step: Step, call: Call, lock: int) -> None:
    """UserError where the command fails, or leaves no valid record."""
    log, key, worker = trial.path / LOG, call.key(trial), get_worker()
    _say(call, trial, "start", f"{step.subcommand} on worker {worker.name}")
    more = environment(worker.name, call.slots)
    _RUNNING[key] = None
    try:
        _RUNNING[key] = process = start(trial.words(step), log, more, trial.base, lock)
        if key in _STOPPED:
            process.terminate()
        code = process.wait()
    finally:
        del _RUNNING[key]
    if key in _STOPPED:
        return
    if killer := killed_by(code):
        _say(call, trial, "killed", f"by signal {killer}; started again, it goes on from its last checkpoint")
        raise Killed(f"{trial.id}: killed by signal {killer} (log: {log})")
    if code:
        raise UserError(f"{last_error(log) or f'exit status {code}'} (log: {log})")
    trial.read(step)


def _say(call: Call, trial: Trial, word: str, said: str) -> None:
    get_worker().log_event(call.id, {"trial": trial.id, "word": word, "said": said})


@contextmanager
def _claimed(folder: Path, key: str) -> Iterator[int]:
    """Hold ``folder`` by the file descriptor that is yielded. The command inherits it: a trial whose worker was killed
    keeps its folder until it ends, and is then found done. Where the disk has no locks, only that of ``fit`` remains.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".trial.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        with suppress(OSError):
            while key not in _STOPPED:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(0.2)
        yield descriptor
    finally:
        os.close(descriptor)


def stop(keys: list[str]) -> int:
    """End the tasks of these keys that run in this process, as Ctrl-C does. Returns how many still run."""
    new = set(keys) - _STOPPED  # to each once: a second signal would disturb its last checkpoint
    _STOPPED.update(keys)
    running = {key: process for key, process in list(_RUNNING.items()) if key in keys}
    for key in new & set(running):
        if command := running[key]:
            command.terminate()
    return len(running)


def environment(slot: Any, slots: int | None) -> dict[str, str]:
    """Threads and, where there are several, graphics cards are shared out between ``slots``: a slot has one card."""
    environment = dict(os.environ)
    if slots is not None and slots > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // slots)))
        if len(visible := cards()) > 1:
            environment["CUDA_VISIBLE_DEVICES"] = visible[int(slot) % len(visible)]
    return environment


def cards() -> list[str]:
    """The graphics cards that this process may use."""
    from torch import cuda

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [str(i) for i in range(cuda.device_count())] if visible is None else [c for c in visible.split(",") if c]
