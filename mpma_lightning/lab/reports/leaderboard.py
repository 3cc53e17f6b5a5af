"""The leaderboard: what each method scores, with all that has to be the same for two scores to be compared, as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from data_modules.catalogue import DATA_MODULES
from data_modules.errors import UserError
from mpma_lightning.cli.parse import parsed
from mpma_lightning.lab.records import read_json
from mpma_lightning.lab.reports.runs import Found
from mpma_lightning.lab.reports.tables import Table

_PRETRAINING = "also in pre-training"


@dataclass
class Entry:
    """A headline metric of a method.

    Attributes:
        protocol, dataset, phantom, part, label_fraction, metric: the question; ``part`` is ``test`` or ``val``.
        unit, higher_is_better: as the task declares the metric; shares are from 0 to 1.
        stage, method: as in the tables of the report.
        split: by seed of the data, the hash of its samples and their splits.
        values: by seed; ``mean`` and ``sd`` are of these, ``low`` to ``high`` is the mean of the runs' 95 % intervals.
        contamination: by kind, how many patients, studies and images of validation and test the weights were
            pre-trained on, as ``check --against STORE`` found; None: not audited.
        config_sha256: of the runs, in the order of their seeds.
    """

    protocol: str
    dataset: str
    phantom: bool | None
    part: str
    label_fraction: str
    metric: str
    unit: str
    higher_is_better: bool | None
    stage: str
    method: str
    split: dict[str, str | None]
    values: dict[str, float]
    mean: float
    sd: float | None
    low: float | None
    high: float | None
    contamination: dict[str, int] | None
    config_sha256: list[str | None]

    @property
    def question(self) -> tuple:
        """What two entries that are compared have in common."""
        return self.protocol, self.dataset, self.phantom, self.part, self.label_fraction, self.metric


def entries(tables: Sequence[Table], found: Found, audits: Sequence[Path] = ()) -> list[Entry]:
    """Of all own runs; metrics that older records do not declare are left out.

    Args:
        tables: of the runs in ``found``.
        found: the runs.
        audits: what ``check DATASET --against STORE --json FILE`` wrote.

    Raises:
        UserError: a file is no such audit.
    """
    audited = dict(map(_audit, audits))
    made = []
    for table in tables:
        own = table.values[~table.values["quoted"]]
        for column in (column for column in table.columns if column.known):
            for method, rows in own[own["metric"] == column.title].groupby("method", sort=False):
                runs = {r.seed: r for r in found.of(table.stage) if (r.method, r.label) == (method, column.label)}
                runs = {seed: runs[seed] for seed in rows["seed"]}
                record = next(iter(runs.values())).record
                cell = table.cells.loc[(method, column.title), ["mean", "sd", "low", "high"]].astype(float)
                summary: dict[str, Any] = {
                    str(name): None if pd.isna(value) else float(value) / column.scale for name, value in cell.items()
                }
                entry = Entry(
                    protocol=record.protocol,
                    dataset=record.dataset,
                    phantom=record.phantom,
                    part=record.part,
                    label_fraction=json.dumps(record.label_fraction),
                    metric=column.metric.name,
                    unit=column.metric.unit,
                    higher_is_better=column.metric.higher_is_better,
                    stage=table.stage,
                    method=str(method),
                    split={str(seed): run.record.manifest_hash for seed, run in runs.items()},
                    values={str(s): v / column.scale for s, v in zip(rows["seed"], rows["value"], strict=True)},
                    contamination=audited.get(record.dataset),
                    config_sha256=[run.record.config_sha256 for run in runs.values()],
                    **summary,
                )
                made.append(entry)
    return made


def read_board(path: Path) -> list[Entry]:
    """A leaderboard that an earlier call wrote.

    Raises:
        UserError: it is not one.
    """
    content = read_json(path).get("entries")
    if not isinstance(content, list):
        raise UserError(f"{path}: found no `entries`, expected a leaderboard that `report --out FILE.json` wrote")
    return [parsed(Entry, entry, f"{path}: entries") for entry in content]


def merged(boards: dict[str, list[Entry]]) -> str:
    """The entries of all ``boards``, by name of their file, as one; the best first under each question.

    Raises:
        UserError: two entries answer one question on other splits, in other units, or under one name.
    """
    kept: dict[tuple, list[tuple[str, Entry]]] = {}
    for name, board in boards.items():
        for entry in board:
            for other_name, other in kept.setdefault(entry.question, []):
                if reason := _incompatible(entry, other):
                    question = f"{entry.metric} of {entry.dataset} under {entry.protocol}"
                    raise UserError(f"{name} and {other_name}: {question}: {reason}; they cannot be one leaderboard")
            kept[entry.question].append((name, entry))
    listed = []
    for same in kept.values():
        sign = -1 if same[0][1].higher_is_better else 1
        listed += sorted((entry for _, entry in same), key=lambda entry: sign * entry.mean)
    return json.dumps({"entries": [asdict(entry) for entry in listed]}, indent=1) + "\n"


def _incompatible(one: Entry, other: Entry) -> str | None:
    for seed in sorted(one.split.keys() & other.split.keys()):
        if one.split[seed] != other.split[seed]:
            hashes = " and ".join(str(entry.split[seed])[:12] for entry in (one, other))
            return f"other samples or splits of seed {seed} ({hashes})"
    for key in ("unit", "higher_is_better"):
        if getattr(one, key) != getattr(other, key):
            return f"{key} is {getattr(one, key)!r} and {getattr(other, key)!r}"
    same = (one.stage, one.method) == (other.stage, other.method)
    return f"both have a method {one.method} in a stage {one.stage}" if same else None


def _audit(path: Path) -> tuple[str, dict[str, int]]:
    """Class of the data module, and cases by kind."""
    content: dict[str, Any] = read_json(path)
    name, findings = content.get("dataset"), content.get("findings")
    if name not in DATA_MODULES or not isinstance(findings, list) or not content.get("against"):
        raise UserError(f"{path}: no audit, expected what `check DATASET --root … --against STORE --json FILE` writes")
    return DATA_MODULES[name], {f["kind"]: len(f["items"]) for f in findings if _PRETRAINING in f["kind"]}
