"""What a difference between methods is worth: bootstrap over samples, and what the seeds could show at all."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import nct, t

from data_modules.errors import UserError
from mpma_lightning.evaluation.bootstrap import bootstrap as draw_patients
from mpma_lightning.evaluation.bootstrap import interval_of
from mpma_lightning.evaluation.metric import Metric
from mpma_lightning.evaluation.samples import weighted_metric

DRAWS = 500


@dataclass
class Difference:
    """Of two methods on the same samples, mean over their seeds: value, 95 % interval, two-sided p."""

    value: float
    low: float
    high: float
    p: float


@dataclass
class Bootstrap:
    """A metric of one run: over its samples, and over draws of them. The same samples give the same draws.

    Attributes:
        samples: sorted ids.
        values: (1 + draws,), the first one over the samples as they are.
    """

    samples: tuple[str, ...]
    values: np.ndarray

    def interval(self) -> tuple[float, float] | None:
        """95 %, or ``None`` where no draw has a value."""
        ends = interval_of(self.values[1:])
        return None if math.isnan(ends[0]) else ends


def read_samples(path: Path) -> pd.DataFrame:
    """``samples_test.parquet``: texts ``id`` and ``patient``, numbers in all other columns.

    Raises:
        UserError: it cannot be read, or holds anything else.
    """
    try:
        table = pd.read_parquet(path)
    except Exception as error:  # the library's readers raise what they like on damaged files
        raise UserError(f"damaged ({' '.join(str(error).split())[:80]})") from None
    numbers = table.drop(columns=["id", "patient"], errors="ignore")
    odd = [str(name) for name, kind in numbers.dtypes.items() if not pd.api.types.is_numeric_dtype(kind)]
    odd += [str(name) for name in numbers.columns if not isinstance(name, str)]
    odd += [f"label/{name.partition('@')[2]}" for name in map(str, numbers.columns)
            if "@" in name and f"label/{name.partition('@')[2]}" not in numbers]  # fmt: skip
    if "id" not in table or table["id"].duplicated().any() or odd or not table.columns.is_unique:
        raise UserError(f"expected unique ids and numbers beside them{f'; see {odd[0]!r}' if odd else ''}")
    return table.astype({name: str for name in ("id", "patient") if name in table})


def bootstrap(table: pd.DataFrame, metric: Metric, draws: int = DRAWS) -> Bootstrap | None:
    """Draws patients (samples, where no patient is known) with replacement.

    Args:
        table: as :func:`read_samples` gives it.
        metric: its ``per_sample`` says which columns hold it.
        draws: how many.

    Returns:
        ``None`` where the table lacks the metric.
    """
    table = table.sort_values("id", ignore_index=True)
    value = weighted_metric(table, metric)
    if value is None:
        return None
    unit = (table["patient"] if "patient" in table else table["id"]).to_numpy(str)
    drawn = draw_patients(unit, lambda draw: value(draw.weight), draws)
    return Bootstrap(tuple(table["id"].astype(str)), np.array([value(np.ones(len(unit), int)), *drawn]))


def paired_difference(ours: Sequence[Bootstrap | None], theirs: Sequence[Bootstrap | None]) -> Difference | None:
    """Of two methods, a run a seed. Seeds are averaged: the interval speaks of these runs on other samples, and not of
    other seeds.

    Returns:
        ``None`` where a run has no samples, or not the same as the others.
    """
    known = [run for run in (*ours, *theirs) if run is not None]
    if not ours or not theirs or len(known) < len(ours) + len(theirs) or len({run.samples for run in known}) > 1:
        return None
    values = np.stack([run.values for run in known])
    gaps = values[: len(ours)].mean(0) - values[len(ours) :].mean(0)
    spread = gaps[1:][~np.isnan(gaps[1:])]
    if not len(spread):
        return None
    low, high = np.percentile(spread, [2.5, 97.5])
    side = min((spread <= 0).mean(), (spread >= 0).mean())
    return Difference(float(gaps[0]), float(low), float(high), float(min(1.0, max(2 * side, 1 / len(spread)))))


def detectable_difference(groups: Sequence[Sequence[float]], power: float = 0.8, level: float = 0.05) -> float | None:
    """The smallest true difference of two means that a two-sided t test over seeds would find with ``power``.

    Args:
        groups: the values of each method, one a seed; the deviation is pooled over methods.
        power, level: of the test.

    Returns:
        ``None`` where no method has two seeds.
    """
    several = [np.asarray(group, float) for group in groups if len(group) > 1]
    if not several:
        return None
    freedom = sum(len(group) - 1 for group in several)
    deviation = np.sqrt(sum(((group - group.mean()) ** 2).sum() for group in several) / freedom)
    seeds = min(map(len, several))
    own = 2 * seeds - 2
    critical = t.ppf(1 - level / 2, own)

    def lacking(effect: float) -> float:
        shift = effect * np.sqrt(seeds / 2)
        return float(1 - nct.cdf(critical, own, shift) + nct.cdf(-critical, own, shift) - power)

    most = 1.0
    while lacking(most) < 0:  # far out, scipy's distribution is not a number
        most *= 1.5
    return float(brentq(lacking, 1e-6, most)) * float(deviation)
