"""A trial: one or two ordinary commands in one run folder, and whether they have been done."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpma_lightning.cli.main import PROG

SEED, RUN, START = "987654321", "RUN", "START_FOLDER"  # stand in a step's words for what differs between trials
NEEDED = ("protocol", "task", "dataset", "seed", "metrics", "config_sha256")
"""What every result row has."""


@dataclass(frozen=True)
class Step:
    """One command of a trial. ``words`` begin with the subcommand and hold SEED, RUN and START."""

    words: tuple[str, ...]

    @property
    def row_name(self) -> str:
        """The result row this step writes."""
        return "results.json" if self.words[0] == "fit" else f"results_{self.words[0]}.json"


@dataclass(frozen=True)
class Trial:
    """One line of a sweep.

    Attributes:
        stage, method, variant, seed: where its figures belong; ``variant`` may be "".
        folder: its run folder.
        steps: in this order.
        after: id of the trial whose weights it starts from, or ``None``.
        start: the run folder or file those weights are in, or ``None``.
    """

    stage: str
    method: str
    variant: str
    seed: int
    folder: Path
    steps: tuple[Step, ...]
    after: str | None = None
    start: str | None = None

    @property
    def id(self) -> str:
        """``<stage>/<method>[/<variant>]/seed_<n>``, its folder below the sweep's."""
        return "/".join(filter(None, (self.stage, self.method, self.variant, f"seed_{self.seed}")))

    def fill(self, text: str) -> str:
        """``text`` with this trial's seed and start in the place of what stands for them."""
        return text.replace(SEED, str(self.seed)).replace(START, self.start or START)

    def words(self, step: Step) -> list[str]:
        """The arguments of ``step``, ready to run."""
        return [str(self.folder) if word == RUN else self.fill(word) for word in step.words]

    def command(self) -> str:
        """One line for a shell."""
        return " && ".join(f"{PROG} {shlex.join(self.words(step))}" for step in self.steps)

    def plain(self) -> dict[str, Any]:
        """What the run folder and the plan say of it."""
        place = {"id": self.id, "stage": self.stage, "method": self.method, "variant": self.variant, "seed": self.seed}
        commands = [self.words(step) for step in self.steps]
        return {
            **place,
            "folder": str(self.folder),
            "after": self.after,
            "commands": commands,
            "command": self.command(),
        }


def read_row(path: Path) -> dict[str, Any] | None:
    """A result row, or ``None`` where there is none or it is damaged."""
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(row, dict) and all(key in row for key in NEEDED) and isinstance(row["metrics"], dict)
    return row if whole else None


def write_json(path: Path, content: Any) -> None:
    """Atomically: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
