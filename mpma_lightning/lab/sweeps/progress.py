"""What a sweep does, for a reader: a line an event, also in a log file, and on a terminal a bar a stage."""

import time
from collections import Counter
from collections.abc import Sequence
from threading import Lock
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars

from mpma_lightning.lab.sweeps.task import Outcome
from mpma_lightning.lab.sweeps.trial import Trial


class Progress:
    """Prints to stderr which trial runs where, how long it took, how many are done, and about how long the rest takes.

    Args:
        trials: all of the sweep.
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        self._stage = {trial.id: trial.stage for trial in trials}
        self._total, self._left = Counter(self._stage.values()), Counter(self._stage.values())
        self._lock = Lock()
        self.began = time.monotonic()
        self._seconds: dict[str, list[float]] = {}
        self.done: set[str] = set()
        self.failed: dict[str, str] = {}
        self._where: dict[str, str] = {}
        self._console = Console(stderr=True)
        name, now = TextColumn("{task.description}"), TextColumn("{task.fields[now]}")
        quiet = not self._console.is_terminal
        self.bars = Bars(name, BarColumn(), MofNCompleteColumn(), now, console=self._console, disable=quiet)
        self._bars = {stage: self.bars.add_task(stage, total=n, now="") for stage, n in self._total.items()}

    def begin(self, count: int) -> None:
        """Say what is done and that ``count`` trials are to run."""
        stages = ", ".join(f"{stage} {total}" for stage, total in self._total.items())
        self._say(f"sweep   {len(self._stage)} trials ({stages}): {len(self.done)} done before, {count} to run")

    def event(self, event: tuple[Any, dict[str, str]]) -> None:
        """A worker's word on a trial that starts or was killed; Dask hands it over with the time."""
        _, what = event
        with self._lock:
            self._where[what["trial"]] = what["said"]
            self._say(f"{what['word']:<8}{what['trial']}  {what['said']}")
            self._update(what["trial"])

    def ended(self, outcome: Outcome, counted: bool = True) -> None:
        """``counted``: whether its time says something of the others, as that of a trial found done does not."""
        with self._lock:
            self._where.pop(outcome.trial, None)
            self._left[self._stage[outcome.trial]] -= 1
            if outcome.state == "done":
                self.done.add(outcome.trial)
                if counted:
                    self._seconds.setdefault(self._stage[outcome.trial], []).append(outcome.seconds)
                    state = f"{len(self.done)} of {len(self._stage)} done{self._time()}"
                    self._say(f"done    {outcome.trial}  {outcome.seconds:.0f} s; {state}")
            else:
                self.failed[outcome.trial] = outcome.reason
                self._say(f"failed  {outcome.trial}: {outcome.reason}")
            self._update(outcome.trial)

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _update(self, trial: str) -> None:
        stage = self._stage[trial]
        now = "; ".join(f"{name} {where}" for name, where in self._where.items() if self._stage[name] == stage)
        self.bars.update(self._bars[stage], completed=self._total[stage] - self._left[stage], now=now)

    def _time(self) -> str:
        """Of what is left, from the trials of each stage that have ended, and from how many run at a time."""
        left = {stage: count for stage, count in self._left.items() if count}
        if not left:
            return ""
        if unknown := [stage for stage in left if stage not in self._seconds]:
            return f"; time left not known: no trial of {', '.join(unknown)} has ended yet"
        mean = {stage: sum(values) / len(values) for stage, values in self._seconds.items()}
        seconds = sum(mean[stage] * count for stage, count in left.items()) / (1 + len(self._where))
        return f"; about {seconds / 60:.0f} min left" if seconds > 90 else f"; about {seconds:.0f} s left"
