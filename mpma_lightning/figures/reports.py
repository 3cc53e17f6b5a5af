"""Cards of drafted reports: image, evidence, reference and draft, with right and wrong findings in colour."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, from_numpy

from mpma_lightning.evaluation.reports.evidence import Sentence, boxes_of
from mpma_lightning.evaluation.reports.findings import labeller
from mpma_lightning.figures.canvas import FOUND, PLAIN, RIGHT, WRONG, canvas, rectangle, show

_WIDTH = 62
"""Characters a line."""


def report_cards(images: Tensor, references: Sequence[str], drafts: Sequence[Sequence[Sentence]]) -> Figure:
    """One row per draft: image, the map of its best supported sentence, and both texts.

    Sentences of the draft are green where the reference says the same of all their findings, red where it says another
    of one, gray where they speak of none; ``(no evidence)`` follows one whose score is below the threshold.

    Args:
        images: (N, C, S, S).
        references: N reports.
        drafts: N lists of sentences.
    """
    figure, axes = canvas(len(references), 3, 3.6, 3.2)
    for (left, middle, right), image, reference, draft in zip(axes, images, references, drafts, strict=True):
        show(left, image)
        shown = _best(draft)
        show(middle, image)
        if shown is not None and shown.map is not None:
            _evidence(middle, image, shown.map, shown.text)
        y = _write(right, 1.0, "reference: " + reference, "black")
        true = labeller().label(reference)
        for sentence in draft:
            doubt = " (no evidence)" if sentence.supported is False else ""
            y = _write(right, y, sentence.text + doubt, _colour(sentence, true))
    figure.suptitle("green: as the reference says, red: not, gray: of no finding", fontsize=8)
    return figure


def _best(draft: Sequence[Sentence]) -> Sentence | None:
    """The sentence with a finding whose evidence is best; None without one."""
    told = [sentence for sentence in draft if any(sentence.findings.values())]
    return max(told, key=lambda sentence: sentence.score or 0.0, default=None)


def _evidence(ax: Axes, image: Tensor, heat: np.ndarray, text: str) -> None:
    show(ax, image, from_numpy(heat), alpha=0.4)
    across, down = image.shape[-1] / heat.shape[1], image.shape[-2] / heat.shape[0]
    for x1, y1, x2, y2 in boxes_of(heat)[:1]:
        rectangle(ax, [x1 * across, y1 * down, x2 * across, y2 * down], FOUND, "")
    ax.set_title(textwrap.shorten(text, 48), fontsize=7)


def _colour(sentence: Sentence, true: Mapping[str, int]) -> str:
    if not sentence.findings:
        return PLAIN
    return RIGHT if all(bool(true.get(name, 0)) == bool(said) for name, said in sentence.findings.items()) else WRONG


def _write(ax: Axes, y: float, text: str, colour: str) -> float:
    """Write a paragraph below ``y``, in axes; returns where the next one begins."""
    lines = textwrap.wrap(text, _WIDTH)
    ax.text(0, y, "\n".join(lines), color=colour, fontsize=6, va="top", transform=ax.transAxes)
    return y - 0.045 * len(lines) - 0.015
