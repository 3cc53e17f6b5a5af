"""Finds the result records below folders, and says which runs cannot be read and why."""

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_modules.errors import UserError
from mpma_lightning.lab.records import PLANS, Planned, Record, is_inside, read_plan, read_record, record_name

NAMES = ("results_test.json", "results_validate.json", "results.json")
"""In this order: the test of a run counts, else its validation, else what fit ended with."""
_MARKS = {*NAMES, "config.yaml", "test.yaml", "trial.json"}
_OF_ONE_KIND: dict[str, Callable[[Record], Any]] = {
    "protocol": lambda record: record.protocol,
    "dataset": lambda record: record.dataset,
    "phantom": lambda record: record.phantom,
    "metrics of": lambda record: record.part,
}
"""What all runs of a stage have in common."""


@dataclass
class Run:
    """One run folder that has a result record.

    Attributes:
        stage, method, seed: where its metrics belong: as its sweep says, else from its record and folder.
        record: the one that counts.
        label: what tells its columns from others of the stage, such as ``label_fraction=0.01``.
        order: place in the plan of its sweep.
        cost: seconds of all its stages, its largest memory, its samples a second.
        commands: what made it, each a list of words; empty for a run of no sweep.
    """

    folder: Path
    stage: str
    method: str
    seed: int
    record: Record
    cost: dict[str, float]
    commands: list[list[str]] = field(default_factory=list)
    label: str = ""
    order: int = 0


@dataclass
class Found:
    """Runs, planned trials without a record, and remarks for the reader."""

    runs: list[Run] = field(default_factory=list)
    missing: list[Planned] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def of(self, stage: str) -> list[Run]:
        """The runs of a stage, in the order of the sweep."""
        return sorted((run for run in self.runs if run.stage == stage), key=lambda run: run.order)


def find_runs(folders: Sequence[Path]) -> Found:
    """Everything below ``folders``; what is damaged, unfinished or of another protocol is said and left out.

    Raises:
        UserError: no such folder, or no record in it.
    """
    found = Found()
    for top in folders:
        if not top.is_dir():
            raise UserError(f"{top} is not a folder; give the folder of a sweep or of runs")
    planned = _planned(folders, found)
    for top in folders:
        for folder in _run_folders(top):
            name = str(folder if len(folders) > 1 else folder.relative_to(top))
            name = folder.resolve().name if name == "." else name
            if run := _read(folder, name, planned.get(folder), found):
                found.runs.append(run)
    there = {run.folder for run in found.runs}
    _shorten_stages(found)
    found.missing = [trial for folder, trial in planned.items() if folder not in there]
    for stage in dict.fromkeys(run.stage for run in found.runs):
        _keep_one_kind([run for run in found.runs if run.stage == stage], found)
    if not found.runs and not found.missing:
        raise UserError(
            f"{', '.join(map(str, folders))}: found no result record; {'; '.join(found.remarks) or 'run fit'}"
        )
    return found


def _shorten_stages(found: Found) -> None:
    """The tables of runs of no sweep are called after their task, or task and part, where one table has that name."""
    lone = [run for run in found.runs if not run.commands]
    stages, taken = {run.stage for run in lone}, {run.stage for run in found.runs if run.commands}
    for run in lone:
        heads = (run.stage.partition(end)[0] for end in (",", ":"))
        short = [head for head in heads if sum(stage.startswith(head) for stage in stages) == 1 and head not in taken]
        run.stage = short[0] if short else run.stage


def _planned(folders: Sequence[Path], found: Found) -> dict[Path, Planned]:
    """Trials of the sweeps in ``folders`` by folder; where there are several sweeps, stages are called after them."""
    planned: dict[Path, Planned] = {}
    plans = sorted({path for top in folders for path in (*top.glob(PLANS), *top.glob(f"*/{PLANS}"))})
    several = len({path.parent for path in plans}) > 1
    for path in plans:
        try:
            trials = read_plan(path)
        except UserError as error:
            found.remarks.append(f"{error}; which cells are missing is not known")
            continue
        for trial in trials:
            trial.stage = f"{path.parent}/{trial.stage}" if several else trial.stage
            trial.order = len(planned)
            planned.setdefault(path.parent / trial.id, trial)
    return planned


def _run_folders(top: Path) -> list[Path]:
    """Folders that hold a run; links to folders are not followed."""
    walk = ((Path(at), set(files)) for at, _, files in os.walk(top))
    return sorted(at for at, files in walk if files & _MARKS and not at.name.endswith(".verify"))


def _read(folder: Path, name: str, trial: Planned | None, found: Found) -> Run | None:
    """``name``: of its row in the tables, where no sweep says one."""
    wanted = [record_name(words[0]) for words in reversed(trial.commands)] if trial else []
    present = [name for name in (wanted or NAMES) if (folder / name).is_file()]
    records = {name: _whole(folder, name, found) for name in present}
    if not present or (wanted and wanted[0] not in present):
        found.remarks.append(f"{folder}: not finished, no {wanted[0] if wanted else 'result record'} yet; left out")
        return None
    record = records[present[0]]
    if record is None:
        return None
    cost = _cost([other for other in records.values() if other])
    if trial is None:
        task = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", record.task.removesuffix("Task"))
        part = "test" if record.part == "test" else "validation"
        stage = f"{task}, {part}: {record.protocol} on {record.dataset.removesuffix('DataModule')}"
        return Run(folder, stage, name, record.seed if isinstance(record.seed, int) else 0, record, cost)
    if stale := _stale(folder, records, wanted[::-1], trial):
        found.remarks.append(f"{folder / stale}; left out, the sweep repeats it")
        return None
    label = trial.variant if _is_fraction(trial.variant) else ""
    method = " ".join(filter(None, (trial.method, "" if label else trial.variant)))
    return Run(folder, trial.stage, method, trial.seed, record, cost, trial.commands, label, trial.order)


def _whole(folder: Path, name: str, found: Found) -> Record | None:
    try:
        if not is_inside(folder / name, folder):
            raise UserError(f"{folder / name}: a link out of its run folder")
        return read_record(folder / name)
    except UserError as error:
        found.remarks.append(f"{error}; left out")
        return None


def _is_fraction(variant: str) -> bool:
    """Such a variant is a column of its own; any other belongs to the name of the row."""
    key, _, value = variant.partition("=")
    return key == "label_fraction" and value.replace(".", "", 1).isdigit()


def _stale(folder: Path, records: dict[str, Record | None], names: list[str], trial: Planned) -> str | None:
    """Which record is not what the sweep asks for now, and why: as the sweep judges."""
    newest = 0.0
    for name, config in zip(names, trial.config_sha256, strict=False):
        record = records.get(name)
        if record is None:
            continue
        if record.config_sha256 != config:
            return f"{name}: of other settings than the sweep has now"
        if (written := (folder / name).stat().st_mtime) < newest:
            return f"{name}: older than what it was measured on"
        newest = written
    return None


def _cost(records: Sequence[Record]) -> dict[str, float]:
    return {
        "seconds": sum(record.seconds for record in records),
        "samples/s": max(record.samples_per_second for record in records),
        "MiB": max(record.peak_memory_mib for record in records),
    }


def _keep_one_kind(runs: list[Run], found: Found) -> None:
    """Of a stage, and for one seed of one split of the data: what most runs have; the others are said."""

    def leave_out(run: Run, why: str) -> None:
        found.remarks.append(f"{run.folder}: {why}")
        found.runs.remove(run)
        runs.remove(run)

    for key, value in _OF_ONE_KIND.items():
        usual = _usual([value(run.record) for run in runs])
        for run in [run for run in runs if value(run.record) != usual]:
            leave_out(run, f"{key} {value(run.record)!r}, while the others of {run.stage} have {usual!r}; left out, as "
                      "a column never mixes two")  # fmt: skip
    for place in dict.fromkeys((run.seed, run.label) for run in runs):
        same = [run for run in runs if (run.seed, run.label) == place]
        usual = _usual([run.record.manifest_hash for run in same])
        for run in [run for run in same if run.record.manifest_hash != usual]:
            leave_out(run, f"other data or splits than the others of {run.stage}; left out")


def _usual(values: list[Any]) -> Any:
    return Counter(values).most_common(1)[0][0]
