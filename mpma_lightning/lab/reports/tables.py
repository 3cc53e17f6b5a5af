"""Runs as tables: a stage is a table, a method a row, a declared headline metric a column; seeds are summarised."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from data_modules.errors import UserError
from mpma_lightning.evaluation.metric import Metric
from mpma_lightning.lab.records import is_inside
from mpma_lightning.lab.reports.published import Quoted, quoted_for
from mpma_lightning.lab.reports.runs import Found, Run, part
from mpma_lightning.lab.reports.statistics import (
    Bootstrap,
    Difference,
    bootstrap,
    detectable_difference,
    paired_difference,
    read_samples,
)

SAMPLES = "samples_test.parquet"


COMPANIONS = ("_low", "_high", "_sd")
"""What may follow a metric's name in a record: its bootstrap interval, its deviation over the seeds inside a run."""


@dataclass
class Cell:
    """One metric of one method: the values by seed, in per cent where the metric is a share.

    ``interval``: mean of the runs' own bootstrap intervals. ``inside``: deviation over the seeds inside a run, as
    linear probes have them. ``against_best``: beside the best method, on the same samples.
    """

    values: dict[int, float] = field(default_factory=dict)
    inside: float | None = None
    interval: tuple[float, float] | None = None
    best: bool = False
    quoted: bool = False
    against_best: Difference | None = None

    @property
    def mean(self) -> float:
        return _mean(self.values.values()) if self.values else math.nan

    @property
    def sd(self) -> float | None:
        """Over the seeds; of a single run, over those inside it."""
        return float(np.std(list(self.values.values()), ddof=1)) if len(self.values) > 1 else self.inside


@dataclass
class Column:
    """A metric under one protocol on one data set; ``known`` is False where no record declares it."""

    metric: Metric
    label: str
    known: bool = True
    detectable: float | None = None

    @property
    def title(self) -> str:
        return self.metric.name + (f", {self.label}" if self.label else "")

    @property
    def scale(self) -> float:
        """Shares are shown in per cent."""
        return 100.0 if self.known and self.metric.unit == "share" else 1.0

    @property
    def digits(self) -> int:
        return 1 if self.scale == 100 else 0 if self.known and self.metric.unit == "count" else 3

    @property
    def higher(self) -> bool | None:
        """Which direction is better; None: neither, or not known."""
        return self.metric.higher_is_better if self.known else None


@dataclass
class Table:
    """A stage. ``cost`` and ``seeds`` are by method; ``missing`` lists the commands of cells that are not there."""

    stage: str
    protocol: str
    data: str
    columns: list[Column]
    cells: dict[str, dict[str, Cell]]
    cost: dict[str, dict[str, float]]
    seeds: dict[str, int]
    quoted: dict[str, Quoted] = field(default_factory=dict)
    missing: list[tuple[str, str]] = field(default_factory=list)


def make_tables(found: Found) -> list[Table]:
    """One table a stage, in the order of the sweep."""
    planned = [trial["stage"] for trial in found.missing.values()]
    stages = dict.fromkeys([*_in_order(found), *planned])
    return [table for stage in stages if (table := _table(stage, found))]


def _in_order(found: Found) -> list[str]:
    first: dict[str, int] = {}
    for run in found.runs:
        first.setdefault(run.stage, run.order)
    return sorted(first, key=lambda stage: first[stage])


def _table(stage: str, found: Found) -> Table | None:
    runs = [run for run in found.runs if run.stage == stage]
    missing = [(trial["id"], trial["command"]) for trial in found.missing.values() if trial["stage"] == stage]
    if not runs:
        return Table(stage, "", "no run has ended", [], {}, {}, {}, missing=missing)
    record = runs[0].record
    data = f"{record['dataset'].removesuffix('DataModule')}{' layout of the phantom' if record.get('phantom') else ''}"
    size = (record.get("split_sizes") or {}).get(part(record))
    if isinstance(size, int) and size:
        data += f", {size:,} {'test' if part(record) == 'test' else 'validation'} samples"
    columns = _columns(runs, found)
    methods = dict.fromkeys(run.method for run in runs)
    cells = {m: {c.title: _cell([r for r in runs if r.method == m], c) for c in columns} for m in methods}
    table = Table(
        stage,
        record["protocol"],
        data,
        columns,
        cells,
        cost={m: _mean_cost([r for r in runs if r.method == m]) for m in methods},
        seeds={m: len({r.seed for r in runs if r.method == m}) for m in methods},
        missing=missing,
    )
    _judge(table, runs, found)
    for label in dict.fromkeys(run.label for run in runs):
        _quote(table, next(run for run in runs if run.label == label), found)
    return table


def _columns(runs: Sequence[Run], found: Found) -> list[Column]:
    """The declared headlines; all metrics of a record that declares none, without unit and direction."""
    columns: dict[str, Column] = {}
    for run in runs:
        declared, own = run.record.get("declared") or {}, _own(run)
        if not declared:
            found.remarks.append(
                f"{run.folder}: an older record that declares no metrics; its values are shown as they are, and none "
                "as the best"
            )
        for name in own:
            metric = declared.get(name)
            if (metric is not None and metric.headline) or (not declared and not _is_companion(name, own)):
                column = Column(metric or Metric(name, None, "ratio"), run.label, metric is not None)
                first = columns.setdefault(column.title, column)
                if (first.metric, first.known) != (column.metric, column.known):
                    columns[column.title] = Column(Metric(name, None, "ratio"), run.label, False)
                    found.remarks.append(f"{run.folder}: declares {name} otherwise than another run of {run.stage}")
    return list(columns.values())


def _own(run: Run) -> dict[str, float]:
    """The metrics that count, by their names after ``test/`` or ``val/``."""
    start = f"{part(run.record)}/"
    return {name.removeprefix(start): value for name, value in run.record["metrics"].items() if name.startswith(start)}


def _is_companion(name: str, names: dict[str, float]) -> bool:
    return any(name.endswith(end) and name.removesuffix(end) in names for end in COMPANIONS)


def _cell(runs: Sequence[Run], column: Column) -> Cell:
    cell, ends, name = Cell(), [], column.metric.name
    for run in runs:
        low, high, inside, value = (column.scale * _own(run).get(f"{name}{end}", math.nan) for end in (*COMPANIONS, ""))
        if run.label != column.label or not math.isfinite(value):
            continue
        cell.values[run.seed] = value
        cell.inside = inside if math.isfinite(inside) else cell.inside
        ends += [(low, high)] if math.isfinite(low) and math.isfinite(high) else []
    cell.interval = (_mean([low for low, _ in ends]), _mean([high for _, high in ends])) if ends else None
    return cell


def _mean(values: Iterable[float]) -> float:
    with np.errstate(over="ignore"):
        return float(np.mean(list(values)))


def _mean_cost(runs: Sequence[Run]) -> dict[str, float]:
    return {name: _mean(run.cost[name] for run in runs) for name in runs[0].cost}


def _judge(table: Table, runs: Sequence[Run], found: Found) -> None:
    """Mark the best of each column and set the others beside it; say what the seeds could show."""
    samples = {(run.method, run.seed, run.label): _samples(run.folder, found) for run in runs}
    for column in table.columns:
        cells = {m: row[column.title] for m, row in table.cells.items() if row[column.title].values}
        if not cells:
            continue
        column.detectable = detectable_difference([list(cell.values.values()) for cell in cells.values()])
        drawn = {}
        for method, cell in cells.items():
            for seed in cell.values:
                known = samples.get((method, seed, column.label))
                drawn[method, seed] = None if known is None or not column.known else bootstrap(known, column.metric)
            if cell.interval is None:
                cell.interval = _mean_interval([drawn[method, s] for s in cell.values], column.scale)
        if column.higher is None:
            continue
        best = (max if column.higher else min)(cells, key=lambda m: cells[m].mean)
        cells[best].best = len({cell.mean for cell in cells.values()}) > 1
        for method in cells:
            seeds = sorted(set(cells[best].values) & set(cells[method].values))
            mine, theirs = ([drawn[m, s] for s in seeds] for m in (method, best))
            if method != best:
                cells[method].against_best = paired_difference(mine, theirs)


def _mean_interval(runs: Sequence[Bootstrap | None], scale: float) -> tuple[float, float] | None:
    found = [interval for run in runs if run and (interval := run.interval())]
    if len(found) < len(runs) or not found:
        return None
    low, high = (scale * _mean(ends) for ends in zip(*found, strict=True))
    return low, high


def _samples(folder: Path, found: Found) -> pd.DataFrame | None:
    path = folder / SAMPLES
    if not path.exists():
        return None
    try:
        if not is_inside(path, folder):
            raise UserError("a link out of its run folder")
        return read_samples(path)
    except UserError as error:
        found.remarks.append(f"{path}: {error}; the intervals and tests that need it are left out")
        return None


def _quote(table: Table, run: Run, found: Found) -> None:
    """Published values of the same protocol, data set, split and metric; never beside the phantom."""
    for entry in quoted_for(run.record, lambda: _data_arguments(run.folder, found)):
        name = f"{entry.method} (quoted)"
        for column in table.columns:
            if column.metric.name in entry.values and column.label == run.label and column.scale == 100:
                table.quoted[name] = entry
                row = table.cells.setdefault(name, {c.title: Cell() for c in table.columns})
                row[column.title] = Cell({0: entry.values[column.metric.name]}, quoted=True)


def _data_arguments(folder: Path, found: Found) -> dict[str, Any]:
    """Of the run's data module, as its config has them."""
    for path in (folder / "config.yaml", folder / "test.yaml", folder / "validate.yaml"):
        if is_inside(path, folder):
            try:
                return dict(yaml.safe_load(path.read_text(encoding="utf-8"))["data"]["init_args"])
            except (OSError, ValueError, TypeError, KeyError, RecursionError, yaml.YAMLError):
                found.remarks.append(f"{path}: not a config with data.init_args; nothing is quoted beside its run")
    return {}
