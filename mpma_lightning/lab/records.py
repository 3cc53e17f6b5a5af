"""Result records and sweep plans: the one boundary where files of run folders are read, whatever they hold."""

import json
import math
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from data_modules.boundary import boundary, read_text
from data_modules.errors import UserError
from mpma_lightning.cli.parse import T, parsed
from mpma_lightning.evaluation.metric import Metric

PLANS = "*.sweep.json"
"""Name of the plans in a sweep's folder, which say what belongs into its report."""
_LARGEST = 64 * 2**20
_REMEDY = "delete it and run its command again"


@dataclass
class Record:
    """What of a result record sweeps and reports rely on; see :class:`mpma_lightning.runs.result.ResultRecord`.

    Attributes:
        declared: by the name of a metric, what its values mean; empty in records of older versions.
        seed: of the data; a probe has a list, those of its heads.
    """

    protocol: str
    task: str
    dataset: str
    metrics: dict[str, float]
    declared: dict = field(default_factory=dict)
    seed: int | list[int] | None = None
    phantom: bool | None = None
    label_fraction: float | list[float] | None = None
    split_sizes: dict = field(default_factory=dict)
    seconds: float = 0.0
    samples_per_second: float = 0.0
    peak_memory_mib: float = 0.0
    manifest_hash: str | None = None
    config_sha256: str | None = None
    checkpoint_sha256: str | None = None
    weights_sha256: str | None = None
    commit: str | None = None
    version: str | None = None

    @property
    def part(self) -> str:
        """``test``, or ``val`` where it has no metrics of a test."""
        return "test" if any(name.startswith("test/") for name in self.metrics) else "val"


@dataclass
class Planned:
    """A trial as the plan of its sweep has it.

    Attributes:
        id: its folder below that of the plan.
        command: one line for a shell.
        commands: the same as words, one list a step.
        config_sha256: what the record of each step must say.
        order: its place in the plan.
    """

    id: str
    stage: str
    method: str
    variant: str
    seed: int
    command: str
    commands: list[list[str]]
    config_sha256: list[str | None] = field(default_factory=list)
    order: int = 0


def record_name(subcommand: str) -> str:
    """The result record that a command writes into its run folder."""
    return "results.json" if subcommand == "fit" else f"results_{subcommand}.json"


def is_inside(path: Path, folder: Path) -> bool:
    """Whether ``path`` is a regular file in ``folder``, and no link leads it elsewhere."""
    try:
        return path.is_file() and path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a loop of links
        return False


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        UserError: it cannot be read, is no whole JSON object, or is nested or large beyond reason.
    """
    with boundary(f"{path}: damaged, not whole JSON", _REMEDY):
        content = json.loads(read_text(path, _LARGEST))
        json.dumps(content, ensure_ascii=False).encode()  # a lone surrogate cannot be written again
    if not isinstance(content, dict):
        raise UserError(f"{path}: damaged, expected a JSON object, found {type(content).__name__}; {_REMEDY}")
    return content


def read_record(path: Path) -> Record:
    """A result record. ``declared`` holds a :class:`Metric` by name.

    Raises:
        UserError: file, entry, what was found.
    """
    content = read_json(path)
    if content and not content.keys() & {"protocol", "task", "dataset", "metrics"}:
        names = ", ".join(sorted(content)[:4])
        raise UserError(f"{path}: not the record of a run but a summary, as `demo` writes: {names}, …")
    record = _known(Record, content, path)
    try:
        record.declared = {name: _metric(name, json.dumps(said)) for name, said in record.declared.items()}
    except UserError as error:
        raise UserError(f"{path}: damaged: {error}; {_REMEDY}") from None
    for key in ("seconds", "samples_per_second", "peak_memory_mib"):
        if not math.isfinite(value := getattr(record, key)):
            raise UserError(f"{path}: damaged: {key} is {value}, expected a finite number; {_REMEDY}")
    return record


def read_plan(path: Path) -> list[Planned]:
    """The trials of a sweep's plan.

    Raises:
        UserError: it is damaged, or a trial lies outside the sweep's folder.
    """
    trials = read_json(path).get("trials")
    if not isinstance(trials, list):
        raise UserError(f"{path}: damaged, found no list of trials")
    planned = [_known(Planned, trial, path) for trial in trials]
    for trial in planned:
        if ".." in Path(trial.id).parts or Path(trial.id).is_absolute() or "\0" in trial.id:
            raise UserError(f"{path}: trial {trial.id!r} lies outside {path.parent}")
        if not trial.commands or not all(trial.commands):
            raise UserError(f"{path}: damaged: trial {trial.id!r} has no commands")
    return planned


def _known(kind: type[T], content: Any, path: Path) -> T:
    """The entries of ``content`` that ``kind`` has."""
    names = {entry.name for entry in fields(kind)}  # type: ignore[arg-type]
    with boundary(f"{path}: damaged", _REMEDY):
        known = {key: value for key, value in content.items() if key in names}
        return parsed(kind, known, f"{path}: damaged")


@cache
def _metric(name: str, said: str) -> Metric:
    content = json.loads(said)
    metric = parsed(Metric, content, f"declared.{name}", name=name)
    return metric if content.get("higher_is_better", 0) is not None else replace(metric, higher_is_better=None)
