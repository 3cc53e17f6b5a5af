"""The bootstrap: patients are sampled with replacement, with all their rows, and a statistic is computed each time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from mpma_lightning.evaluation.metric import Metric, Scores, with_interval

Interval = tuple[float, float]


@dataclass(frozen=True)
class Draw:
    """A sample of n out of n units, with replacement.

    Attributes:
        units: (n,) indices of the sampled units among the sorted units.
        place: (N,) index of each row's unit.
    """

    units: np.ndarray
    place: np.ndarray

    @property
    def weight(self) -> np.ndarray:
        """(N,) how many times each row is in the sample."""
        return np.bincount(self.units, minlength=len(self.units))[self.place]


def bootstrap(unit: np.ndarray, statistic: Callable[[Draw], float], draws: int = 1000, seed: int = 0) -> np.ndarray:
    """(draws,) values of ``statistic``. The same units and seed give the same draws for any statistic.

    Args:
        unit: (N,) name of each row's patient; its study or sample if the patient is unknown.
        statistic: function of a draw; NaN if it is not defined for the draw.
        draws: number of draws.
        seed: of the draws.
    """
    names, place = np.unique(np.asarray(unit).astype(str), return_inverse=True)
    generator, count = np.random.default_rng(seed), len(names)
    return np.array([statistic(Draw(generator.integers(0, count, count), place)) for _ in range(draws)])


def interval_of(values: np.ndarray) -> Interval:
    """95 % interval of bootstrap values without NaN; (NaN, NaN) if all are NaN."""
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def mean_interval(values: np.ndarray, unit: np.ndarray, draws: int = 1000, seed: int = 0) -> Interval:
    """95 % interval of the mean of (N,) ``values``."""
    _, place = np.unique(unit.astype(str), return_inverse=True)
    sums, counts = np.bincount(place, values), np.bincount(place)
    return interval_of(bootstrap(unit, lambda draw: sums[draw.units].sum() / counts[draw.units].sum(), draws, seed))


def mean_intervals(values: Mapping[Metric, np.ndarray], unit: np.ndarray) -> Scores:
    """Intervals of the means of columns, over rows that are not NaN; a column of only NaN has none."""
    found: dict[Metric, float] = {}
    for metric, column in values.items():
        known = ~np.isnan(column)
        if known.any():
            found |= with_interval(metric, mean_interval(column[known], unit[known]))
    return found
