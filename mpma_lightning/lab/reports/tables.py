"""Runs as tables: a stage is a table, a method a row, a metric a column; seeds are summarised."""

import math
import re
import statistics as plain
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from mpma_lightning.lab.reports.published import Quoted, quoted_for
from mpma_lightning.lab.reports.rows import Found, Run, part
from mpma_lightning.lab.reports.statistics import (
    Bootstrap,
    Difference,
    bootstrap,
    detectable_difference,
    paired_difference,
)

HEADLINES = {
    "PretrainingTask": r"(image|report)_reconstruction_loss|(zero_shot|probe\d+)_auroc|finding_word_gap|local_gap",
    "LinearProbeTask": r"fraction_[^/]+/(auroc|accuracy)",
    "ClassificationTask": r"auroc|accuracy",
    "ZeroShotTask": r"(global|local|combined)/(auroc|accuracy)",
    "RetrievalTask": r"(rerank/)?(i2t|t2i)_[rh](1|5|10)",
    "SegmentationTask": r"dice(_positive)?|dice_empty_prediction|dice_positive_mean_mask",
    "DetectionTask": r"map(_50)?|det-frozen-mgca/map_40_75",
    "GroundingTask": r"pointing_game|cnr|random_patch|centre_of_named_lung",
    "VQATask": r"accuracy(/open|/closed|/contrasted)?|question_only",
}
"""Metrics shown, by task; of a task that is not listed, every metric without a slash that is no loss."""
_LOWER = re.compile(r"loss|mse|median_rank")
_RATE = re.compile(r"auroc|accuracy|_[rhp]\d+$|question_only|dice|map|iou|f1|pointing|_patch|_lung|recall|word_gap")
SAMPLES = "samples_test.parquet"


@dataclass
class Cell:
    """One method's figure: the values by seed, in per cent where the metric is a rate.

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
        return plain.fmean(self.values.values()) if self.values else math.nan

    @property
    def sd(self) -> float | None:
        """Over the seeds; of a single run, over those inside it."""
        return plain.stdev(self.values.values()) if len(self.values) > 1 else self.inside


@dataclass
class Column:
    """A metric under one protocol on one data set."""

    metric: str
    title: str
    higher: bool
    rate: bool
    detectable: float | None = None


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
    row = runs[0].row
    data = f"{row['dataset'].removesuffix('DataModule')}{' layout of the phantom' if row.get('phantom') else ''}"
    sizes = row.get("split_sizes") or {}
    size = sizes.get(part(row))
    data += f", {size:,} {'test' if part(row) == 'test' else 'validation'} samples" if size else ""
    columns = _columns(runs)
    methods = dict.fromkeys(run.method for run in runs)
    cells = {m: {c.title: _cell([r for r in runs if r.method == m], c) for c in columns} for m in methods}
    table = Table(
        stage,
        row["protocol"],
        data,
        columns,
        cells,
        cost={m: _mean_cost([r for r in runs if r.method == m]) for m in methods},
        seeds={m: len({r.seed for r in runs if r.method == m}) for m in methods},
        missing=missing,
    )
    _judge(table, runs)
    for label in dict.fromkeys(run.label for run in runs):
        _quote(table, next(run for run in runs if run.label == label))
    return table


def _columns(runs: Sequence[Run]) -> list[Column]:
    names: dict[str, Column] = {}
    for run in runs:
        shown = HEADLINES.get(run.row["task"])
        for name in run.row["metrics"]:
            prefix, _, metric = name.partition("/")
            if prefix != part(run.row):
                continue
            known = re.fullmatch(shown, metric) if shown else "/" not in metric and "loss" not in metric
            if known:
                title = metric + (f", {run.label}" if run.label else "")
                names.setdefault(title, Column(metric, title, not _LOWER.search(metric), bool(_RATE.search(metric))))
    return list(names.values())


def _cell(runs: Sequence[Run], column: Column) -> Cell:
    cell, scale = Cell(), 100 if column.rate else 1
    lows, highs = [], []
    for run in runs:
        metrics, name = run.row["metrics"], f"{part(run.row)}/{column.metric}"
        mine = column.title == column.metric + (f", {run.label}" if run.label else "")
        if mine and isinstance(metrics.get(name), int | float) and math.isfinite(metrics[name]):
            cell.values[run.seed] = scale * metrics[name]
            if math.isfinite(metrics.get(f"{name}_sd", math.nan)):
                cell.inside = scale * metrics[f"{name}_sd"]
            if math.isfinite(metrics.get(f"{name}_low", math.nan)):
                lows.append(scale * metrics[f"{name}_low"])
                highs.append(scale * metrics[f"{name}_high"])
    cell.interval = (plain.fmean(lows), plain.fmean(highs)) if lows else None
    return cell


def _mean_cost(runs: Sequence[Run]) -> dict[str, float]:
    return {name: plain.fmean(run.cost[name] for run in runs) for name in runs[0].cost}


def _judge(table: Table, runs: Sequence[Run]) -> None:
    """Mark the best of each column and set the others beside it; say what the seeds could show."""
    samples = {(run.method, run.seed, run.label): _samples(run.folder) for run in runs}
    for column in table.columns:
        cells = {m: row[column.title] for m, row in table.cells.items() if row[column.title].values}
        if not cells:
            continue
        pick = max if column.higher else min
        best = pick(cells, key=lambda m: cells[m].mean)
        cells[best].best = len({cell.mean for cell in cells.values()}) > 1
        column.detectable = detectable_difference([list(cell.values.values()) for cell in cells.values()])
        label = column.title.removeprefix(column.metric).removeprefix(", ")
        drawn = {}
        for method, cell in cells.items():
            for seed in cell.values:
                known = samples.get((method, seed, label))
                drawn[method, seed] = None if known is None else bootstrap(known, column.metric)
            if cell.interval is None:
                cell.interval = _mean_interval([drawn[method, s] for s in cell.values], 100 if column.rate else 1)
        for method in cells:
            seeds = sorted(set(cells[best].values) & set(cells[method].values))
            mine, theirs = ([drawn[m, s] for s in seeds] for m in (method, best))
            if method != best:
                cells[method].against_best = paired_difference(mine, theirs)


def _mean_interval(runs: Sequence[Bootstrap | None], scale: float) -> tuple[float, float] | None:
    found = [interval for run in runs if run and (interval := run.interval())]
    if len(found) < len(runs) or not found:
        return None
    low, high = (scale * plain.fmean(ends) for ends in zip(*found, strict=True))
    return low, high


def _samples(folder: Path) -> pd.DataFrame | None:
    try:
        return pd.read_parquet(folder / SAMPLES)
    except (OSError, ValueError):
        return None


def _quote(table: Table, run: Run) -> None:
    """Published figures of the same protocol, data set, split and metric; never beside the phantom."""
    for entry in quoted_for(run.row, _data_arguments(run.folder)):
        name = f"{entry.method} (quoted)"
        for column in table.columns:
            if column.metric in entry.values and column.title == column.metric + (
                f", {run.label}" if run.label else ""
            ):
                table.quoted[name] = entry
                row = table.cells.setdefault(name, {c.title: Cell() for c in table.columns})
                row[column.title] = Cell({0: entry.values[column.metric]}, quoted=True)


def _data_arguments(folder: Path) -> dict[str, Any]:
    """Of the run's data module, as its config has them."""
    for name in ("config.yaml", "test.yaml", "validate.yaml"):
        if (folder / name).is_file():
            config = yaml.safe_load((folder / name).read_text(encoding="utf-8")) or {}
            return dict((config.get("data") or {}).get("init_args") or {})
    return {}
