"""Finds the result rows below folders, and says which runs cannot be read and why."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_modules.errors import UserError
from mpma_lightning.lab.sweeps.plan import PLANS
from mpma_lightning.lab.sweeps.trial import read_row

NAMES = ("results_test.json", "results_validate.json", "results.json")
"""In this order: the test of a run counts, else its validation, else what fit ended with."""
FRACTION = r"label_fraction=[\d.]+"
"""A variant of this form is a column of its own; any other belongs to the name of the row."""


@dataclass
class Run:
    """One run folder that has a row.

    Attributes:
        stage, method, seed: where its figures belong: as its sweep says, else from its task and folder.
        row: the row that counts.
        label: what tells its columns from others of the stage, such as ``label_fraction=0.01``.
        order: place in the plan of its sweep.
        cost: seconds of all its stages, its largest memory, its samples a second.
        commands: what made it, each a list of words; empty for a run of no sweep.
    """

    folder: Path
    stage: str
    method: str
    seed: int
    row: dict[str, Any]
    cost: dict[str, float]
    commands: list[list[str]] = field(default_factory=list)
    label: str = ""
    order: int = 0


@dataclass
class Found:
    """Runs, planned trials without a row (folder to command), and remarks for the reader."""

    runs: list[Run] = field(default_factory=list)
    missing: dict[str, dict[str, Any]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def find_runs(folders: Sequence[Path]) -> Found:
    """Everything below ``folders``; what is damaged, unfinished or of another protocol is said and left out.

    Raises:
        UserError: no such folder, or no row in it.
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
        raise UserError(f"{', '.join(map(str, folders))}: found no result row; {'; '.join(found.remarks) or 'run fit'}")
    return found


def _planned(folders: Sequence[Path], found: Found) -> dict[str, dict[str, Any]]:
    """Trials of the sweeps in ``folders`` by folder; where there are several sweeps, stages are called after them."""
    planned: dict[str, dict[str, Any]] = {}
    plans = sorted({path for top in folders for path in (*top.glob(PLANS), *top.glob(f"*/{PLANS}"))})
    several = len({path.parent for path in plans}) > 1
    for path in plans:
        try:
            for trial in json.loads(path.read_text(encoding="utf-8"))["trials"]:
                folder = path.parent / trial["id"]
                stage = f"{path.parent}/{trial['stage']}" if several else trial["stage"]
                more = {"folder": str(folder), "order": len(planned), "stage": stage}
                planned.setdefault(str(folder), trial | more)
        except (ValueError, KeyError, TypeError):
            found.remarks.append(f"{path}: damaged; cells that are missing are not known")
    return planned


def _run_folders(top: Path) -> list[Path]:
    marks = (*NAMES, "config.yaml", "test.yaml", "trial.json")
    folders = {path.parent for mark in marks for path in top.rglob(mark)}
    return sorted(folder for folder in folders if not folder.name.endswith(".verify"))


def _read(folder: Path, name: str, trial: dict[str, Any], found: Found) -> Run | None:
    """``name``: of its row in the tables, where no sweep says one."""
    wanted = _wanted(trial)
    present = [name for name in (wanted or NAMES) if (folder / name).is_file()]
    rows = {name: read_row(folder / name) for name in present}
    for name in [name for name, row in rows.items() if row is None]:
        found.remarks.append(f"{folder / name}: damaged, not a whole result row; left out")
    if not present or (wanted and wanted[0] not in present):
        found.remarks.append(f"{folder}: not finished, no {wanted[0] if wanted else 'result row'} yet; left out")
    row = rows.get(present[0]) if present and (not wanted or present[0] == wanted[0]) else None
    if row is None:
        return None
    if stale := _stale(folder, rows, trial):
        found.remarks.append(f"{folder / stale}; left out, the sweep repeats it")
        return None
    stage = trial.get("stage") or f"{row['task']} on {row['dataset']}, {row['protocol']}"
    variant = trial.get("variant") or ""
    label = variant if re.fullmatch(FRACTION, variant) else ""
    method = " ".join(filter(None, (trial.get("method"), variant if not label else ""))) or name
    seed = trial.get("seed", row["seed"] if isinstance(row["seed"], int) else 0)
    cost = _cost([r for r in rows.values() if r])
    return Run(folder, stage, method, seed, row, cost, trial.get("commands", []), label, trial.get("order", 0))


def _stale(folder: Path, rows: dict[str, dict[str, Any] | None], trial: dict[str, Any]) -> str | None:
    """Which row is not what the sweep asks for now, and why: as its workers judge."""
    newest = 0.0
    for name, config in zip(reversed(_wanted(trial)), trial.get("config_sha256", []), strict=False):
        row = rows.get(name)
        if row is not None and row["config_sha256"] != config:
            return f"{name}: of other settings than the sweep has now"
        if row is not None and (written := (folder / name).stat().st_mtime) < newest:
            return f"{name}: older than what it was measured on"
        newest = written if row is not None else newest
    return None


def part(row: dict[str, Any]) -> str:
    """``test``, or ``val`` where a row has no figures of a test."""
    return "test" if any(name.startswith("test/") for name in row["metrics"]) else "val"


def _wanted(trial: dict[str, Any]) -> list[str]:
    """Row names of a planned trial, the last step's first."""
    steps = [words[0] for words in trial.get("commands", [])]
    return ["results.json" if name == "fit" else f"results_{name}.json" for name in reversed(steps)]


def _cost(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {
        "seconds": sum(float(row.get("seconds", 0)) for row in rows),
        "samples/s": max((float(row.get("samples_per_second", 0)) for row in rows), default=0.0),
        "MiB": max((float(row.get("peak_memory_mib", 0)) for row in rows), default=0.0),
    }


def _keep_one_protocol(found: Found) -> None:
    """Within a stage, and for one seed within one split of the data: what most runs have; the others are said."""
    for stage in dict.fromkeys(run.stage for run in found.runs):
        own = [run for run in found.runs if run.stage == stage]
        for key, value in _OF_ONE_KIND.items():
            usual = _usual(value(run.row) for run in own)
            odd = [run for run in own if value(run.row) != usual]
            for run in odd:
                found.remarks.append(
                    f"{run.folder}: {key} {value(run.row)!r}, while the others of {stage} have {usual!r}; left out, "
                    "as a column never mixes two"
                )
            own = [run for run in own if run not in odd]
        for seed, label in dict.fromkeys((run.seed, run.label) for run in own):
            same = [run for run in own if (run.seed, run.label) == (seed, label)]
            usual = _usual(run.row.get("manifest_hash") for run in same)
            for run in [run for run in same if run.row.get("manifest_hash") != usual]:
                found.remarks.append(f"{run.folder}: other data or splits than the others of {stage}; left out")
                own.remove(run)
        found.runs = [run for run in found.runs if run.stage != stage or run in own]


_OF_ONE_KIND: dict[str, Callable[[dict[str, Any]], Any]] = {
    "protocol": lambda row: row["protocol"],
    "dataset": lambda row: row["dataset"],
    "phantom": lambda row: row.get("phantom"),
    "figures of": part,
}


def _usual(values: Iterable[Any]) -> Any:
    seen = list(values)
    return max(dict.fromkeys(seen), key=seen.count) if seen else None
