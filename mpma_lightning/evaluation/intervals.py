"""Bootstrap intervals of means; of other metrics see ``auroc_interval`` and ``map_interval``."""

from collections.abc import Mapping

import numpy as np


def mean_interval(values: np.ndarray, unit: np.ndarray, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of a mean; units (patients) are drawn, with all their rows."""
    _, place = np.unique(unit.astype(str), return_inverse=True)
    sums, counts = np.bincount(place, values), np.bincount(place)
    drawn = np.random.default_rng(seed).integers(0, len(counts), (draws, len(counts)))
    low, high = np.percentile(sums[drawn].sum(1) / counts[drawn].sum(1), [2.5, 97.5])
    return float(low), float(high)


def mean_intervals(samples: Mapping[str, np.ndarray]) -> dict[str, float]:
    """``<metric>_low`` and ``<metric>_high`` of every column but ``id`` and ``patient`` of ``Task.samples``.

    Args:
        samples: (N,) columns; rows that are NaN do not count, and a column of NaN alone has no interval.
    """
    found: dict[str, float] = {}
    for name, values in samples.items():
        if name in ("id", "patient") or np.isnan(values).all():
            continue
        known = ~np.isnan(values)
        found[f"{name}_low"], found[f"{name}_high"] = mean_interval(values[known], samples["patient"][known])
    return found
