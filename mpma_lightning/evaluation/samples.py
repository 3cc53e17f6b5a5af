"""Table of measurements of each test sample, and metrics as functions of sample weights."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from mpma_lightning.evaluation.classification import Ranks, prepare_ranks, weighted_macro_auroc
from mpma_lightning.evaluation.metric import Metric


@dataclass
class SampleTable:
    """Measurements of N samples, for intervals and paired comparisons of runs; ``samples_test.parquet`` in the run
    folder.

    Attributes:
        ids, patients: (N,) names.
        values: (N,) by metric, for means over samples (``per_sample: mean``); NaN does not count.
        ratios: (N,) part and (N,) whole by metric, for ratios of their sums (``per_sample: ratio``).
        classes: K names.
        labels: (N, K) 0, 1 or NaN.
        scores: (N, K) by metric and head, for macro AUROC (``per_sample: auroc``); a single head has an empty name.
    """

    ids: np.ndarray
    patients: np.ndarray
    values: dict[Metric, np.ndarray] = field(default_factory=dict)
    ratios: dict[Metric, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    labels: np.ndarray | None = None
    scores: dict[tuple[Metric, str], np.ndarray] = field(default_factory=dict)

    def frame(self) -> pd.DataFrame:
        """Columns ``id``, ``patient``, ``label/<class>``, the metrics' names, of ratios ``<metric>/part`` and
        ``<metric>/whole``, and ``<metric>@<class>``, of several heads ``<metric>#<head>@<class>``."""
        columns = {"id": self.ids.astype(str), "patient": self.patients.astype(str)}
        if self.labels is not None:
            columns |= {f"label/{name}": self.labels[:, k] for k, name in enumerate(self.classes)}
        columns |= {metric.name: values for metric, values in self.values.items()}
        for metric, ratio in self.ratios.items():
            columns |= {f"{metric.name}/{side}": values for side, values in zip(("part", "whole"), ratio, strict=True)}
        for (metric, head), scores in self.scores.items():
            prefix = f"{metric.name}#{head}" if head else metric.name
            columns |= {f"{prefix}@{name}": scores[:, k] for k, name in enumerate(self.classes)}
        return pd.DataFrame(columns)


def weighted_metric(table: pd.DataFrame, metric: Metric) -> Callable[[np.ndarray], float] | None:
    """``metric`` as a function of (N,) weights of the samples of a :meth:`SampleTable.frame`; None if the table lacks
    its columns."""
    if metric.per_sample == "mean" and metric.name in table:
        return _weighted_mean(table[metric.name].to_numpy(float))
    if metric.per_sample == "ratio" and f"{metric.name}/part" in table:
        return weighted_ratio(*(table[f"{metric.name}/{side}"].to_numpy(float) for side in ("part", "whole")))
    heads: dict[str, list[Ranks]] = {}
    for column in table.columns if metric.per_sample == "auroc" else ():
        head, found, name = column.partition("@")
        if found and head.partition("#")[0] == metric.name:
            ranks = prepare_ranks(table[f"label/{name}"].to_numpy(float), table[column].to_numpy(float))
            heads.setdefault(head, []).append(ranks)
    return weighted_macro_auroc(list(heads.values())) if heads else None


def weighted_ratio(part: np.ndarray, whole: np.ndarray) -> Callable[[np.ndarray], float]:
    """Ratio of the weighted sums of two (N,) columns; NaN where the second sum is 0."""

    def ratio(weight: np.ndarray) -> float:
        total = float((whole * weight).sum())
        return float((part * weight).sum()) / total if total else float("nan")

    return ratio


def _weighted_mean(values: np.ndarray) -> Callable[[np.ndarray], float]:
    known = ~np.isnan(values)

    def mean(weight: np.ndarray) -> float:
        return float((values * weight)[known].sum() / max(weight[known].sum(), 1))

    return mean
