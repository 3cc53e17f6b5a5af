"""Scores of frequent and rare classes apart, grouped by their share of the training samples."""

from collections.abc import Mapping

import numpy as np

from mpma_lightning.evaluation.classification import AP, AUROC
from mpma_lightning.evaluation.metric import Metric, Scores, count, reference

GROUPS = ("head", "medium", "tail")
MAP = Metric("ap", unit="share", headline=True, baseline="prevalence")


def group_of(share: float, bounds: tuple[float, float]) -> str:
    """The group of a class whose positives are ``share`` of the training samples: the head above the first bound, the
    tail below the second, else medium."""
    head, tail = bounds
    return "head" if share > head else "tail" if share < tail else "medium"


def long_tail_scores(
    found: Scores, labels: np.ndarray, classes: list[str], shares: Mapping[str, float], bounds: tuple[float, float]
) -> dict[Metric, float]:
    """``found`` with the means of ``auroc`` and ``ap`` over the classes of each group, as ``auroc_tail``; beside ``ap``
    stands ``prevalence``, the mean share of positives of the same classes, which a constant score has as its ``ap``.

    A group without a scored class has no score; ``classes_tail`` counts them. ``ap`` over all classes, by which the
    challenge ranks, is a headline.

    Args:
        found: scores by class.
        labels: (N, K) 0, 1 or NaN.
        classes: K names.
        shares: positives of a class / training samples.
        bounds: see :func:`group_of`.
    """
    known = [name for name in classes if AUROC.of(name) in found]
    prevalence = {name: np.nanmean(labels[:, classes.index(name)]) for name in known}
    result = {metric: value for metric, value in found.items() if metric != AP}
    if AP in found:
        result |= {MAP: found[AP], reference("prevalence"): float(np.mean([prevalence[name] for name in known]))}
    for group in GROUPS:
        own = [name for name in known if name in shares and group_of(shares[name], bounds) == group]
        result[count(f"classes_{group}")] = float(len(own))
        if own:
            result[_in(AUROC, group, 0.5)] = float(np.mean([found[AUROC.of(name)] for name in own]))
            result[_in(AP, group, f"prevalence_{group}")] = float(np.mean([found[AP.of(name)] for name in own]))
            result[reference(f"prevalence_{group}")] = float(np.mean([prevalence[name] for name in own]))
    return result


def _in(metric: Metric, group: str, baseline: str | float) -> Metric:
    return Metric(f"{metric.name}_{group}", unit="share", headline=True, baseline=baseline)
