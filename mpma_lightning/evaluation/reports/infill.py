"""Filling in what a radiologist left open: some sentences of the reference are given, the others are written."""

from collections.abc import Mapping
from random import Random

import numpy as np

from data_modules.text.sentences import sentences
from mpma_lightning.evaluation.metric import Metric, count
from mpma_lightning.evaluation.reports.findings import labeller
from mpma_lightning.evaluation.reports.scores import counts_of_findings

FILLED = Metric("infill/finding_f1", unit="share", headline=True)
UNCONDITIONED = Metric("infill/unconditioned_finding_f1", higher_is_better=None, unit="share")
TOO_LONG = count("infill/too_long")
"""Reports whose given half leaves no position for the other: they are not scored."""


def half_given(report: str, share: float, seed: int) -> list[str | None]:
    """Sentences of a report, each given with probability ``share``, and one None for every run of others; at least one
    sentence is left out."""
    draw, told = Random(seed), sentences(report)
    kept = [draw.random() < share for _ in told]
    if all(kept):
        kept[draw.randrange(len(kept))] = False
    parts: list[str | None] = []
    for sentence, given in zip(told, kept, strict=True):
        if given:
            parts.append(sentence)
        elif not parts or parts[-1] is not None:
            parts.append(None)
    return parts


def infill_scores(rows: Mapping[str, np.ndarray]) -> dict[Metric, float]:
    """``finding_f1`` of the filled parts and of the drafts that were written without what was given.

    Both are scored on the findings of the reference of which the given sentences do not speak.

    Args:
        rows: ``given``, ``filled``, ``draft`` and ``reference`` (N,) texts; ``fits`` (N,) whether the sample counts.
    """
    fits = rows["fits"].astype(bool)
    given, filled, drafted, true = (
        labeller().states([*rows[name][fits]]) for name in ("given", "filled", "draft", "reference")
    )
    open_ = np.isnan(given)
    found = {TOO_LONG: float((~fits).sum())}
    for metric, states in ((FILLED, filled), (UNCONDITIONED, drafted)):
        both, told = (counts[open_].sum() for counts in counts_of_findings(states, true))
        if told:
            found[metric] = float(both / told)
    return found
