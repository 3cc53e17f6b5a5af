"""Finds the result rows below folders, and says which runs cannot be read and why."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpma_lightning.errors import UserError
from mpma_lightning.sweeps.plan import PLANS
from mpma_lightning.sweeps.trial import read_row

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
        planned = _planned(top, found)
        for folder in _run_folders(top):
            if run := _read(folder, top, planned, found):
                found.runs.append(run)
        there = {str(run.folder) for run in found.runs}
        found.missing |= {name: trial for name, trial in planned.items() if name not in there}
    _keep_one_protocol(found)
    if not found.runs and not found.missing:
        raise UserError(f"{', '.join(map(str, folders))}: found no result row; {'; '.join(found.remarks) or 'run fit'}")
    return found


def _planned(top: Path, found: Found) -> dict[str, dict[str, Any]]:
    """Trials of the sweeps in ``top`` by folder."""
    planned: dict[str, dict[str, Any]] = {}
    for path in sorted({*top.glob(PLANS), *top.glob(f"*/{PLANS}")}):
        try:
            for trial in json.loads(path.read_text(encoding="utf-8"))["trials"]:
                folder = path.parent / trial["id"]
                planned.setdefault(str(folder), trial | {"folder": str(folder), "order": len(planned)})
        except (ValueError, KeyError, TypeError):
            found.remarks.append(f"{path}: damaged; cells that are missing are not known")
    return planned


def _run_folders(top: Path) -> list[Path]:
    marks = (*NAMES, "config.yaml", "test.yaml", "trial.json")
    folders = {path.parent for mark in marks for path in top.rglob(mark)}
    return sorted(folder for folder in folders if not folder.name.endswith(".verify"))


def _read(folder: Path, top: Path, planned: dict[str, dict[str, Any]], found: Found) -> Run | None:
    trial = planned.get(str(folder)) or {}
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
    stage = trial.get("stage") or f"{row['task']} on {row['dataset']}, {row['protocol']}"
    variant = trial.get("variant") or ""
    label = variant if re.fullmatch(FRACTION, variant) else ""
    method = " ".join(filter(None, (trial.get("method"), variant if not label else ""))) or str(folder.relative_to(top))
    seed = trial.get("seed", row["seed"] if isinstance(row["seed"], int) else 0)
    cost = _cost([r for r in rows.values() if r])
    return Run(folder, stage, method, seed, row, cost, trial.get("commands", []), label, trial.get("order", 0))


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
        for key in ("protocol", "dataset", "phantom"):
            usual = _usual(run.row.get(key) for run in own)
            odd = [run for run in own if run.row.get(key) != usual]
            for run in odd:
                found.remarks.append(
                    f"{run.folder}: {key} {run.row.get(key)!r}, while the others of {stage} have {usual!r}; left out, "
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


def _usual(values: Iterable[Any]) -> Any:
    seen = list(values)
    return max(dict.fromkeys(seen), key=seen.count) if seen else None
