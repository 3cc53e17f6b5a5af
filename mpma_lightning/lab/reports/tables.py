"""Runs as tables: a stage is a table, a method a row, a declared headline metric a column; seeds are summarised."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_modules.boundary import boundary
from data_modules.errors import UserError, suggest
from data_modules.yaml_files import read_yaml
from mpma_lightning.evaluation.metric import Metric
from mpma_lightning.lab.records import Planned, is_inside
from mpma_lightning.lab.reports.names import in_words
from mpma_lightning.lab.reports.published import quoted_for
from mpma_lightning.lab.reports.runs import Found, Run
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
COSTS = ["method", "seeds", "seconds", "samples/s", "MiB"]
_VALUES = ["method", "metric", "seed", "value", "low", "high", "inside", "quoted"]


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
    def heading(self) -> str:
        """What a reader sees: ``zero-shot AUROC ↑ %``."""
        arrow = {True: "↑", False: "↓", None: ""}[self.higher]
        words = " ".join(filter(None, (in_words(self.metric.name), arrow, "%" if self.scale == 100 else "")))
        return f"{words}, {in_words(self.label.replace('label_fraction=', 'fraction_'))}" if self.label else words

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
    """A stage. Shares are in per cent.

    Attributes:
        methods: its rows.
        columns: its metrics.
        values: a row a method, metric (title of its column) and seed: ``value``, the interval ``low`` to ``high`` and
            the deviation ``inside`` the run, as linear probes have it; ``quoted`` from a publication.
        cells: by method and metric: ``mean`` and ``sd`` over seeds (of a single run, over those inside it), the mean
            interval, whether it is the ``best``, and the Difference ``against_best`` on the same samples, or None.
        costs: by method, of the mean run: ``seeds``, ``seconds``, ``samples/s``, ``MiB``.
        missing: the trials that have no run.
    """

    stage: str
    protocol: str
    data: str
    methods: list[str]
    columns: list[Column]
    values: pd.DataFrame
    cells: pd.DataFrame
    costs: pd.DataFrame
    missing: list[Planned]

    @property
    def quoted(self) -> list[str]:
        """Methods that were not run here."""
        return [method for method in self.methods if method not in self.costs.index]


def make_tables(found: Found, chosen: Sequence[str] = ()) -> list[Table]:
    """One table a stage, stages and methods in the order of the sweep.

    Args:
        found: the runs.
        chosen: names of metrics, as records have them or with ``*``; without any, the headline metrics.

    Raises:
        UserError: no record declares a metric of such a name.
    """
    names = {metric for run in found.runs for metric in _own(run)}
    for name in chosen:
        if not any(fnmatchcase(known, name) for known in names):
            raise UserError(f"--columns {name}: no run has such a metric{suggest(name, names)}")
    runs = sorted(found.runs, key=lambda run: min(r.order for r in found.runs if r.stage == run.stage))
    stages = dict.fromkeys([*(run.stage for run in runs), *(trial.stage for trial in found.missing)])
    return [_table(stage, found, chosen) for stage in stages]


def _table(stage: str, found: Found, chosen: Sequence[str]) -> Table:
    runs = found.of(stage)
    missing = [trial for trial in found.missing if trial.stage == stage]
    columns = _columns(runs, found, chosen)
    values = pd.DataFrame([*_measured(runs, columns), *_quoted(runs, columns, found)], columns=_VALUES)
    values = values[np.isfinite(values["value"].astype(float))]
    values = values.astype({"quoted": bool}).drop_duplicates(["method", "metric", "seed"], keep="last")
    samples = {(run.method, run.seed, run.label): _samples(run.folder, found) for run in runs}
    cells = [_cells(values[values["metric"] == column.title], column, samples) for column in columns]
    costs = pd.DataFrame([{"method": run.method, "seeds": run.seed, **run.cost} for run in runs], columns=COSTS)
    means = {"seeds": "nunique", **dict.fromkeys(COSTS[2:], "mean")}
    return Table(
        stage,
        runs[0].record.protocol if runs else "",
        _data(runs[0]) if runs else "no run has ended",
        list(dict.fromkeys([*costs["method"], *values["method"]])),
        columns,
        values,
        pd.concat(cells) if cells else pd.DataFrame(),
        costs.groupby("method", sort=False).agg(means),
        missing,
    )


def _data(run: Run) -> str:
    """What the metrics of a stage were measured on."""
    record = run.record
    name = f"{record.dataset.removesuffix('DataModule')}{' layout of the phantom' if record.phantom else ''}"
    size = record.split_sizes.get(record.part)
    kind = "test" if record.part == "test" else "validation"
    return f"{name}, {size:,} {kind} samples" if isinstance(size, int) and size else name


def _columns(runs: Sequence[Run], found: Found, chosen: Sequence[str]) -> list[Column]:
    """The chosen metrics, in that order, or the declared headlines, or all of a record that declares none."""
    columns: dict[str, Column] = {}
    for run in runs:
        declared, own = run.record.declared, _own(run)
        if own and not declared:
            found.remarks.append(
                f"{run.folder}: an older record that declares no metrics; its values are shown as they are, and none "
                "as the best"
            )
        for name in own:
            metric = declared.get(name)
            wanted = bool(chosen) or (metric.headline if metric else not declared)
            if wanted and _place(name, chosen) is not None and not _is_companion(name, own):
                column = Column(metric or Metric(name, None, unit="ratio"), run.label, metric is not None)
                first = columns.setdefault(column.title, column)
                if (first.metric, first.known) != (column.metric, column.known):
                    columns[column.title] = Column(Metric(name, None, unit="ratio"), run.label, False)
                    found.remarks.append(f"{run.folder}: declares {name} otherwise than another run of {run.stage}")
    return sorted(columns.values(), key=lambda column: _place(column.metric.name, chosen) or 0)


def _place(name: str, chosen: Sequence[str]) -> int | None:
    """Of the first that names it; None: none does."""
    return next((place for place, pattern in enumerate(chosen or "*") if fnmatchcase(name, pattern)), None)


def _own(run: Run) -> dict[str, float]:
    """The metrics that count, by their names after ``test/`` or ``val/``."""
    start = f"{run.record.part}/"
    return {name.removeprefix(start): value for name, value in run.record.metrics.items() if name.startswith(start)}


def _is_companion(name: str, names: dict[str, float]) -> bool:
    return any(name.endswith(end) and name.removesuffix(end) in names for end in COMPANIONS)


def _measured(runs: Sequence[Run], columns: Sequence[Column]) -> list[tuple]:
    """Rows of :attr:`Table.values`, methods in the order of the runs."""
    rows = []
    for method in dict.fromkeys(run.method for run in runs):
        for column in columns:
            for run in sorted((r for r in runs if (r.method, r.label) == (method, column.label)), key=lambda r: r.seed):
                names = (f"{column.metric.name}{end}" for end in ("", *COMPANIONS))
                numbers = [column.scale * _own(run).get(name, math.nan) for name in names]
                finite = [number if math.isfinite(number) else math.nan for number in numbers]
                rows.append((method, column.title, run.seed, *finite, False))
    return rows


def _cells(
    values: pd.DataFrame, column: Column, samples: dict[tuple[str, int, str], pd.DataFrame | None]
) -> pd.DataFrame:
    """Of one column: every method's mean, beside the best one; says in ``column`` what the seeds could show."""
    of = {name: (name, "mean") for name in ("low", "high")}
    cells = values.groupby("method", sort=False).agg(
        mean=("value", "mean"), sd=("value", "std"), inside=("inside", "last"), quoted=("quoted", "any"), **of
    )
    cells["sd"] = cells["sd"].fillna(cells["inside"])
    cells, gaps = cells.assign(metric=column.title, best=False), dict[str, Difference | None]()
    own = values[~values["quoted"]]
    seeds = {str(method): list(rows["seed"]) for method, rows in own.groupby("method", sort=False)}
    column.detectable = detectable_difference([list(rows["value"]) for _, rows in own.groupby("method", sort=False)])
    drawn = {(m, s): _drawn(samples[m, s, column.label], column) for m in seeds for s in seeds[m]}
    for method in seeds:
        if cells.loc[method, ["low", "high"]].isna().any():
            cells.loc[method, ["low", "high"]] = _mean_interval([drawn[method, s] for s in seeds[method]], column.scale)
    if column.higher is not None and seeds:
        means = cells.loc[list(seeds), "mean"]
        best = str(means.idxmax() if column.higher else means.idxmin())
        cells.loc[best, "best"] = means.nunique() > 1
        for method in seeds.keys() - {best}:
            both = sorted({*seeds[best]} & {*seeds[method]})
            mine, theirs = ([drawn[m, seed] for seed in both] for m in (method, best))
            gaps[method] = paired_difference(mine, theirs)
    cells["against_best"] = pd.Series({method: gaps.get(str(method)) for method in cells.index}, dtype=object)
    return cells.reset_index().set_index(["method", "metric"])


def _drawn(samples: pd.DataFrame | None, column: Column) -> Bootstrap | None:
    return None if samples is None or not column.known else bootstrap(samples, column.metric)


def _mean_interval(runs: Sequence[Bootstrap | None], scale: float) -> tuple[float, float]:
    """Of the runs' own intervals; NaN where one has none."""
    found = [interval for run in runs if run and (interval := run.interval())]
    if len(found) < len(runs) or not found:
        return math.nan, math.nan
    low, high = scale * np.mean(found, axis=0)
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


def _quoted(runs: Sequence[Run], columns: Sequence[Column], found: Found) -> list[tuple]:
    """Published values of the same protocol, data set, split and metric; never beside the phantom."""
    rows, first = [], dict[str, Run]()
    for run in runs:
        first.setdefault(run.label, run)
    for run in first.values():
        for entry in quoted_for(run.record, lambda run=run: _data_arguments(run.folder, found)):  # type: ignore[misc]
            for column in columns:
                name = column.metric.name
                if name in entry.values and column.label == run.label and column.known:
                    place = (f"{entry.method} (quoted)", column.title, 0, entry.values[name])
                    rows.append((*place, math.nan, math.nan, math.nan, True))
    return rows


def _data_arguments(folder: Path, found: Found) -> dict[str, Any]:
    """Of the run's data module, as its config has them."""
    for path in (folder / "config.yaml", folder / "test.yaml", folder / "validate.yaml"):
        if is_inside(path, folder):
            try:
                with boundary(f"{path}: not a config with data.init_args", "nothing is quoted beside its run"):
                    return dict(read_yaml(path)["data"]["init_args"])
            except UserError as error:
                found.remarks.append(str(error))
    return {}
