"""Finds the result records below folders, and says which runs cannot be read and why."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_modules.errors import UserError
from mpma_lightning.lab.records import PLANS, is_inside, read_plan, read_record, record_name

NAMES = ("results_test.json", "results_validate.json", "results.json")
"""In this order: the test of a run counts, else its validation, else what fit ended with."""
_MARKS = {*NAMES, "config.yaml", "test.yaml", "trial.json"}


@dataclass
class Run:
    """One run folder that has a result record.

    Attributes:
        stage, method, seed: where its metrics belong: as its sweep says, else from its task and folder.
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
    record: dict[str, Any]
    cost: dict[str, float]
    commands: list[list[str]] = field(default_factory=list)
    label: str = ""
    order: int = 0


@dataclass
class Found:
    """Runs, planned trials without a record (by folder), and remarks for the reader."""

    runs: list[Run] = field(default_factory=list)
    missing: dict[str, dict[str, Any]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


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
            if run := _read(folder, name, planned.get(str(folder)) or {}, found):
                found.runs.append(run)
    there = {str(run.folder) for run in found.runs}
    found.missing = {name: trial for name, trial in planned.items() if name not in there}
    _keep_one_protocol(found)
    if not found.runs and not found.missing:
        raise UserError(
            f"{', '.join(map(str, folders))}: found no result record; {'; '.join(found.remarks) or 'run fit'}"
        )
    return found


def _planned(folders: Sequence[Path], found: Found) -> dict[str, dict[str, Any]]:
    """Trials of the sweeps in ``folders`` by folder; where there are several sweeps, stages are called after them."""
    planned: dict[str, dict[str, Any]] = {}
    plans = sorted({path for top in folders for path in (*top.glob(PLANS), *top.glob(f"*/{PLANS}"))})
    several = len({path.parent for path in plans}) > 1
    for path in plans:
        try:
            trials = read_plan(path)
        except UserError as error:
            found.remarks.append(f"{error}; which cells are missing is not known")
            continue
        for trial in trials:
            folder = path.parent / trial["id"]
            stage = f"{path.parent}/{trial['stage']}" if several else trial["stage"]
            planned.setdefault(str(folder), trial | {"folder": str(folder), "order": len(planned), "stage": stage})
    return planned


def _run_folders(top: Path) -> list[Path]:
    """Folders that hold a run; links to folders are not followed."""
    walk = ((Path(at), set(files)) for at, _, files in os.walk(top))
    return sorted(at for at, files in walk if files & _MARKS and not at.name.endswith(".verify"))


def _read(folder: Path, name: str, trial: dict[str, Any], found: Found) -> Run | None:
    """``name``: of its row in the tables, where no sweep says one."""
    wanted = _wanted(trial)
    present = [name for name in (wanted or NAMES) if (folder / name).is_file()]
    records: dict[str, dict[str, Any] | None] = {name: _whole(folder, name, found) for name in present}
    if not present or (wanted and wanted[0] not in present):
        found.remarks.append(f"{folder}: not finished, no {wanted[0] if wanted else 'result record'} yet; left out")
    record = records.get(present[0]) if present and (not wanted or present[0] == wanted[0]) else None
    if record is None:
        return None
    if stale := _stale(folder, records, trial):
        found.remarks.append(f"{folder / stale}; left out, the sweep repeats it")
        return None
    stage = trial.get("stage") or f"{record['task']} on {record['dataset']}, {record['protocol']}"
    variant = trial.get("variant") or ""
    label = variant if _is_fraction(variant) else ""
    method = " ".join(filter(None, (trial.get("method"), variant if not label else ""))) or name
    own = record.get("seed")  # a probe has a list: those of its heads
    seed = trial.get("seed", own if isinstance(own, int) else 0)
    cost = _cost([r for r in records.values() if r])
    return Run(folder, stage, method, seed, record, cost, trial.get("commands", []), label, trial.get("order", 0))


def _whole(folder: Path, name: str, found: Found) -> dict[str, Any] | None:
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


def _stale(folder: Path, records: dict[str, dict[str, Any] | None], trial: dict[str, Any]) -> str | None:
    """Which record is not what the sweep asks for now, and why: as the sweep judges."""
    newest = 0.0
    for name, config in zip(reversed(_wanted(trial)), trial.get("config_sha256", []), strict=False):
        record = records.get(name)
        if record is None:
            continue
        if record.get("config_sha256") != config:
            return f"{name}: of other settings than the sweep has now"
        if (written := (folder / name).stat().st_mtime) < newest:
            return f"{name}: older than what it was measured on"
        newest = written
    return None


def part(record: dict[str, Any]) -> str:
    """``test``, or ``val`` where a record has no metrics of a test."""
    return "test" if any(name.startswith("test/") for name in record["metrics"]) else "val"


def _wanted(trial: dict[str, Any]) -> list[str]:
    """Names of the records of a planned trial, the last step's first."""
    return [record_name(words[0]) for words in reversed(trial.get("commands", []))]


def _cost(records: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {
        "seconds": sum(float(record.get("seconds", 0)) for record in records),
        "samples/s": max((float(record.get("samples_per_second", 0)) for record in records), default=0.0),
        "MiB": max((float(record.get("peak_memory_mib", 0)) for record in records), default=0.0),
    }


def _keep_one_protocol(found: Found) -> None:
    """Within a stage, and for one seed within one split of the data: what most runs have; the others are said."""
    for stage in dict.fromkeys(run.stage for run in found.runs):
        own = [run for run in found.runs if run.stage == stage]
        for key, value in _OF_ONE_KIND.items():
            usual = _usual(value(run.record) for run in own)
            for run in [run for run in own if value(run.record) != usual]:
                found.remarks.append(
                    f"{run.folder}: {key} {value(run.record)!r}, while the others of {stage} have {usual!r}; left "
                    "out, as a column never mixes two"
                )
                own.remove(run)
        for seed, label in dict.fromkeys((run.seed, run.label) for run in own):
            same = [run for run in own if (run.seed, run.label) == (seed, label)]
            usual = _usual(run.record.get("manifest_hash") for run in same)
            for run in [run for run in same if run.record.get("manifest_hash") != usual]:
                found.remarks.append(f"{run.folder}: other data or splits than the others of {stage}; left out")
                own.remove(run)
        found.runs = [run for run in found.runs if run.stage != stage or run in own]


_OF_ONE_KIND: dict[str, Callable[[dict[str, Any]], Any]] = {
    "protocol": lambda record: record["protocol"],
    "dataset": lambda record: record["dataset"],
    "phantom": lambda record: record.get("phantom"),
    "metrics of": part,
}


def _usual(values: Iterable[Any]) -> Any:
    seen = list(values)
    return max(dict.fromkeys(seen), key=seen.count) if seen else None
