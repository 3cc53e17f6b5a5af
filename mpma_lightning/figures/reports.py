"""Cards of drafted reports: film, evidence, reference and draft, with right and wrong findings in colour."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, from_numpy

from mpma_lightning.evaluation.reports.evidence import Sentence, boxes_in_pixels
from mpma_lightning.evaluation.reports.findings import labeller
from mpma_lightning.figures.canvas import (
    FOUND,
    PLAIN,
    RIGHT,
    WRONG,
    canvas,
    headline,
    rectangle,
    shortened,
    show,
    write,
)
from mpma_lightning.figures.sheet import letters, sheet, shrunk

HEIGHT, WIDTHS = 3.0, (2.8, 2.8, 3.8, 4.2)
"""Inches of a row, and of its film, evidence, reference and draft."""
LINES = 24
"""Most lines of a text."""


def report_cards(images: Tensor, references: Sequence[str], drafts: Sequence[Sequence[Sentence]]) -> Figure:
    """One row per draft: film, the map of its best supported sentence, reference and draft.

    Sentences of the draft are blue, with ✓, where the reference says the same of all their findings, orange, with ✗,
    where it says another of one, gray where they speak of none; ``?`` follows one without evidence.

    Args:
        images: (N, C, S, S).
        references: N reports.
        drafts: N lists of sentences.
    """
    inches = [width * shrunk(WIDTHS) for width in WIDTHS]
    lines = int(HEIGHT / sheet().line) - 1 if sheet().width is None else _needed(references, drafts, inches[2:])
    figure, axes = canvas(len(references), 4, height=HEIGHT, widths=WIDTHS, square=HEIGHT, lines=lines)
    for (film, evidence, left, right), image, reference, draft in zip(axes, images, references, drafts, strict=True):
        film.set_anchor("N")
        evidence.set_anchor("N")
        show(film, image)
        best = _best(draft)
        if best is not None and best.map is not None:
            _evidence(evidence, image, best.map, best.text)
        write(left, ((word, PLAIN) for word in reference.split()), inches[2] - 0.1, lines)
        write(right, _coloured(draft, labeller().label(reference)), inches[3] - 0.1, lines)
    for ax, title in zip(axes[0], ("film", "evidence of", "reference", "draft"), strict=True):
        ax.set_title(
            f"{title} {ax.get_title()}".strip(), fontsize=sheet().title if title != "evidence of" else sheet().text
        )
    headline(
        figure,
        "Drafted reports. ✓ and blue: findings as in the reference; ✗ and orange: not; gray: of no finding; "
        "?: no evidence in the film",
    )
    return figure


def _needed(references: Sequence[str], drafts: Sequence[Sequence[Sentence]], inches: Sequence[float]) -> int:
    """Lines of the longest text, at most ``LINES``."""
    written = [" ✓ ? ".join(sentence.text for sentence in draft) for draft in drafts]
    longest = [max(len(text) for text in texts) for texts in (references, written)]
    needed = max(int(1.15 * n * sheet().character / width) + 2 for n, width in zip(longest, inches, strict=True))
    return min(needed, LINES)


def _best(draft: Sequence[Sentence]) -> Sentence | None:
    """The sentence with a finding whose evidence is best; None without one."""
    told = [sentence for sentence in draft if any(sentence.findings.values())]
    return max(told, key=lambda sentence: sentence.score or 0.0, default=None)


def _evidence(ax: Axes, image: Tensor, heat: np.ndarray, text: str) -> None:
    show(ax, image, from_numpy(heat))
    for box in boxes_in_pixels(heat, image.shape[-2:])[:1]:
        rectangle(ax, box, FOUND)
    ax.set_title(shortened(text, letters(40, WIDTHS), 2), fontsize=sheet().text)


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
