"""A trial: one or two ordinary commands in one run folder, and whether they have been done."""

import shlex
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from data_modules.errors import UserError
from mpma_lightning.cli.main import PROG
from mpma_lightning.lab.records import Record, read_record, record_name


class Slot(Enum):
    """Stands among a step's words for what differs between trials of one kind."""

    RUN = "run folder"
    SEED = "seed"
    START = "run folder or file of the weights it starts from"


@dataclass(frozen=True)
class Step:
    """One command of a trial.

    Attributes:
        words: its arguments, the subcommand first.
        config_sha256: what its result record must say; None until the line has been read.
    """

    words: tuple[str | Slot, ...]
    config_sha256: str | None = None

    @property
    def subcommand(self) -> str:
        return str(self.words[0])


@dataclass(frozen=True)
class Trial:
    """One line of a sweep.

    Attributes:
        stage, method, variant, seed: where its metrics belong; ``variant`` may be "".
        folder: its run folder.
        steps: in this order.
        after: id of the trial whose weights it starts from, or ``None``.
        start: the run folder or file those weights are in, or ``None``.
        base: the folder that ``folder`` and ``start`` count from.
    """

    stage: str
    method: str
    variant: str
    seed: int
    folder: Path
    steps: tuple[Step, ...]
    after: str | None = None
    start: str | None = None
    base: Path = Path()

    @property
    def path(self) -> Path:
        """Its run folder, as this process finds it."""
        return self.base / self.folder

    @property
    def id(self) -> str:
        """``<stage>/<method>[/<variant>]/seed_<n>``, its folder below the sweep's."""
        return "/".join(filter(None, (self.stage, self.method, self.variant, f"seed_{self.seed}")))

    def values(self) -> dict[Slot, str]:
        """What each slot stands for."""
        return {Slot.RUN: str(self.folder), Slot.SEED: str(self.seed), Slot.START: str(self.start)}

    def words(self, step: Step) -> list[str]:
        """The arguments of ``step``, ready to run."""
        values = self.values()
        return [values[word] if isinstance(word, Slot) else word for word in step.words]

    def command(self) -> str:
        """One line for a shell."""
        return " && ".join(f"{PROG} {shlex.join(self.words(step))}" for step in self.steps)

    def plain(self) -> dict[str, Any]:
        """What the plan says of it, for reports."""
        place = {"id": self.id, "stage": self.stage, "method": self.method, "variant": self.variant, "seed": self.seed}
        commands = [self.words(step) for step in self.steps]
        hashes = [step.config_sha256 for step in self.steps]
        more = {"commands": commands, "command": self.command(), "config_sha256": hashes}
        return {**place, "folder": str(self.folder), "after": self.after, **more}

    def read(self, step: Step) -> Record:
        """The result record of a step.

        Raises:
            UserError: it is absent, damaged, or of another config than the sweep asks for.
        """
        path = self.path / record_name(step.subcommand)
        record = read_record(path)
        if record.config_sha256 != step.config_sha256:
            raise UserError(f"{path}: of other settings than the sweep asks for")
        return record

    def record(self, step: Step) -> Record | None:
        """The result record of a step where it is valid."""
        try:
            return self.read(step)
        except UserError:
            return None

    def next_step(self) -> Step | None:
        """The first step without a valid record, or with one older than that of the step before; None when done.

        Raises:
            UserError: it was started from weights that its parent does not have any more.
        """
        weights, newest = self._weights_of_parent(), 0.0
        for step in self.steps:
            record = self.record(step)
            written = (self.path / record_name(step.subcommand)).stat().st_mtime if record else 0.0
            if record is None or written < newest:
                return step
            newest = written
            if weights and record.checkpoint_sha256 not in (None, weights):
                raise UserError(
                    f"started from weights that {self.after} does not have any more; delete {self.folder} to repeat it"
                )
        return None

    def _weights_of_parent(self) -> str | None:
        if self.after is None:
            return None
        try:
            return read_record(self.base / str(self.start) / record_name("fit")).weights_sha256
        except UserError:
            return None
