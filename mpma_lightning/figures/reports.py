"""Cards of drafted reports: film, evidence, reference and draft, with right and wrong findings in colour."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, from_numpy

from mpma_lightning.evaluation.reports.evidence import Sentence, boxes_of
from mpma_lightning.evaluation.reports.findings import labeller
from mpma_lightning.figures.canvas import (
    FOUND,
    LINE,
    PLAIN,
    RIGHT,
    TEXT,
    TITLE,
    WRONG,
    canvas,
    headline,
    rectangle,
    shortened,
    show,
    write,
)

HEIGHT, WIDTHS = 3.0, (2.8, 2.8, 3.8, 4.2)
"""Inches of a row, and of its film, evidence, reference and draft."""


def report_cards(images: Tensor, references: Sequence[str], drafts: Sequence[Sequence[Sentence]]) -> Figure:
    """One row per draft: film, the map of its best supported sentence, reference and draft.

    Sentences of the draft are blue, with ✓, where the reference says the same of all their findings, orange, with ✗,
    where it says another of one, gray where they speak of none; ``?`` follows one without evidence.

    Args:
        images: (N, C, S, S).
        references: N reports.
        drafts: N lists of sentences.
    """
    figure, axes = canvas(len(references), 4, height=HEIGHT, widths=WIDTHS)
    for (film, evidence, left, right), image, reference, draft in zip(axes, images, references, drafts, strict=True):
        show(film, image)
        best = _best(draft)
        if best is not None and best.map is not None:
            _evidence(evidence, image, best.map, best.text)
        lines = int(HEIGHT / LINE) - 1
        write(left, ((word, PLAIN) for word in reference.split()), WIDTHS[2], lines)
        write(right, _coloured(draft, labeller().label(reference)), WIDTHS[3], lines)
    for ax, title in zip(axes[0], ("film", "evidence of", "reference", "draft"), strict=True):
        ax.set_title(f"{title} {ax.get_title()}".strip(), fontsize=TITLE if title != "evidence of" else TEXT)
    headline(
        figure,
        "Drafted reports. ✓ and blue: findings as in the reference; ✗ and orange: not; gray: of no finding; "
        "?: no evidence in the film",
    )
    return figure


def _best(draft: Sequence[Sentence]) -> Sentence | None:
    """The sentence with a finding whose evidence is best; None without one."""
    told = [sentence for sentence in draft if any(sentence.findings.values())]
    return max(told, key=lambda sentence: sentence.score or 0.0, default=None)


def _evidence(ax: Axes, image: Tensor, heat: np.ndarray, text: str) -> None:
    show(ax, image, from_numpy(heat))
    across, down = image.shape[-1] / heat.shape[1], image.shape[-2] / heat.shape[0]
    for x1, y1, x2, y2 in boxes_of(heat)[:1]:
        rectangle(ax, [x1 * across, y1 * down, x2 * across, y2 * down], FOUND)
    ax.set_title(shortened(text, 40, 2), fontsize=TEXT)


def _coloured(draft: Sequence[Sentence], true: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """The words of a draft with their colours."""
    for sentence in draft:
        colour = PLAIN
        if sentence.findings:
            same = all(bool(true.get(name, 0)) == bool(said) for name, said in sentence.findings.items())
            colour = RIGHT if same else WRONG
            yield ("✓" if same else "✗"), colour
        for word in sentence.text.split():
            yield word, colour
        if sentence.supported is False:
            yield "?", WRONG
