"""Works through the trials of a sweep beside any number of other workers: nothing lost, nothing done twice."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from torch import cuda

from data_modules.errors import UserError
from mpma_lightning.lab.sweeps.check import Checked
from mpma_lightning.lab.sweeps.lock import Lock, claim
from mpma_lightning.lab.sweeps.trial import Step, Trial, write_json

POLL = 0.2
PROGRAM = [sys.executable, "-m", "mpma_lightning"]
LOG, FAILED = "log.txt", "failed.json"


@dataclass
class Running:
    """A trial that this worker runs."""

    trial: Trial
    step: Step
    slot: int
    process: subprocess.Popen
    lock: Lock
    start: float


class Worker:
    """Runs what is left of ``trials``, ``slots`` at a time.

    A trial is done when every step has a valid row, the rows in the order of the steps, started from the weights that
    its parent has now. What died of a signal is started once more, and continues from its last checkpoint.
    """

    def __init__(self, trials: Sequence[Trial], checked: Checked, slots: int) -> None:
        self.trials, self.checked, self.slots = list(trials), checked, slots
        self.by_id = {trial.id: trial for trial in trials}
        self.began = time.time()
        self.done: set[str] = set()
        self.failed: dict[str, str] = {}
        self.running: list[Running] = []
        self._console = Console(stderr=True)
        self._again: set[str] = set()
        self._seconds: dict[str, list[float]] = {}

    def run(self) -> dict[str, str]:
        """Until every trial is done, failed, or waits for a failed one. Returns the failures: trial to reason."""
        console = self._console
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
        )
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            bar = progress.add_task("trials", total=len(self.trials), left="")
            try:
                while self._turn():
                    progress.update(bar, completed=len(self.done), left=self._left(), description=self._names())
                    time.sleep(POLL)
            except BaseException:
                self._stop()
                raise
            progress.update(bar, completed=len(self.done), left="")
        return self.failed

    def _turn(self) -> bool:
        """Look once at everything; False when nothing is left that could be done."""
        for running in list(self.running):
            running.lock.beat()
            if running.process.poll() is not None:
                self._finish(running)
        waiting = False
        for trial in self.trials:
            if trial.id in self.done or trial.id in self.failed or any(r.trial is trial for r in self.running):
                continue
            if trial.after is not None and trial.after not in self.done:
                if trial.after in self.failed:
                    self.failed[trial.id] = f"waits for {trial.after}, which failed"
                continue
            if len(self.running) < self.slots:
                waiting |= not self._try(trial)
        return waiting or bool(self.running)

    def _try(self, trial: Trial) -> bool:
        """Start ``trial``, or find it done or failed; False where another worker has it."""
        lock = claim(trial.folder)
        if lock is None:
            return False
        try:
            step = self._next_step(trial)
        except UserError as error:
            self.failed[trial.id] = str(error)
            step = None
        if step is None or self._failed_elsewhere(trial):
            lock.release()
            return True
        self._launch(trial, step, lock)
        return True

    def _next_step(self, trial: Trial) -> Step | None:
        """The first step without a valid row; ``None`` (and noted) when the trial is done."""
        parent = self.by_id.get(trial.after or "")
        weights = self.checked.row(parent, parent.steps[0]) if parent else None
        newest = 0.0
        for step in trial.steps:
            row, path = self.checked.row(trial, step), trial.folder / step.row_name
            if row is None or path.stat().st_mtime < newest:
                return step
            newest = path.stat().st_mtime
            if weights and row.get("checkpoint_sha256") not in (None, weights.get("weights_sha256")):
                raise UserError(
                    f"started from weights that {trial.after} has no more; delete {trial.folder} to repeat it"
                )
        self.done.add(trial.id)
        return None

    def _failed_elsewhere(self, trial: Trial) -> bool:
        """Whether another worker has tried it since this one began."""
        path = trial.folder / FAILED
        if trial.id in self._again or not path.is_file() or path.stat().st_mtime < self.began:
            return False
        self.failed[trial.id] = f"failed in another worker; see {trial.folder / LOG}"
        return True

    def _launch(self, trial: Trial, step: Step, lock: Lock, slot: int | None = None) -> None:
        taken = {running.slot for running in self.running}
        slot = next(i for i in range(self.slots) if i not in taken) if slot is None else slot
        write_json(trial.folder / "trial.json", trial.plain())
        with (trial.folder / LOG).open("ab") as log:
            process = subprocess.Popen(
                [*PROGRAM, *trial.words(step)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(slot, self.slots),
                pass_fds=[lock.descriptor],
            )
        self.running.append(Running(trial, step, slot, process, lock, time.monotonic()))

    def _finish(self, running: Running) -> None:
        self.running.remove(running)
        trial, code = running.trial, running.process.returncode
        seconds = time.monotonic() - running.start
        try:
            self._judge(running, code, seconds)
        except UserError as error:
            self.failed[trial.id] = str(error)
        if not any(other.lock is running.lock for other in self.running):
            running.lock.release()

    def _judge(self, running: Running, code: int, seconds: float) -> None:
        trial = running.trial
        if code == 0 and self.checked.row(trial, running.step) is not None:
            self._seconds.setdefault(trial.stage, []).append(seconds)
            step = self._next_step(trial)
            if step is not None:
                self._launch(trial, step, running.lock, running.slot)
                return
            (trial.folder / FAILED).unlink(missing_ok=True)
            self._say(f"done    {trial.id}  {seconds:.0f} s")
        elif (killer := killed_by(code)) and trial.id not in self._again:
            self._again.add(trial.id)
            self._say(f"again   {trial.id}: killed by signal {killer}, continues from its last checkpoint")
        else:
            reason = last_error(trial.folder / LOG) or f"exit status {code} without a valid {running.step.row_name}"
            write_json(trial.folder / FAILED, {"status": code, "reason": reason})
            self.failed[trial.id] = f"{reason} (log: {trial.folder / LOG})"
            self._say(f"failed  {trial.id}: {self.failed[trial.id]}")

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _stop(self) -> None:
        """Stop what runs; it continues with the next call."""
        for running in self.running:
            running.process.terminate()
        for running in self.running:
            running.process.wait()
            running.lock.release()

    def _names(self) -> str:
        return ", ".join(running.trial.id for running in self.running) or "waiting for other workers"

    def _left(self) -> str:
        """Remaining time, from the trials of each stage that this worker has seen end."""
        left = [trial.stage for trial in self.trials if trial.id not in self.done and trial.id not in self.failed]
        if not left or any(stage not in self._seconds for stage in left):
            known = sum(stage in self._seconds for stage in left)
            return f"time left unknown: no trial has ended of {len(left) - known} to do" if left else ""
        mean = {stage: sum(values) / len(values) for stage, values in self._seconds.items()}
        return f"about {sum(mean[stage] for stage in left) / self.slots / 60:.0f} min left"


def killed_by(code: int) -> int | None:
    """The signal that ended a command, also where it left in order, as a command does at SIGTERM."""
    return -code if code < 0 else signal.SIGTERM.value if code == 128 + signal.SIGTERM else None


def environment(slot: int, slots: int) -> dict[str, str]:
    """Threads and, where there are several, graphics cards are shared out between the slots: a slot has one card."""
    environment: dict[str, Any] = dict(os.environ)
    if slots > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // slots)))
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        cards = [str(i) for i in range(cuda.device_count())] if visible is None else visible.split(",")
        if len(cards) > 1:
            environment["CUDA_VISIBLE_DEVICES"] = cards[slot % len(cards)]
    return environment


def last_error(log: Path) -> str | None:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-50:] if log.is_file() else []
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return errors[-1] if errors else None
