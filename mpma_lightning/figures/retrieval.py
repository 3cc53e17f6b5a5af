"""Figures of retrieval: queries with the highest ranked items, and the rank of the true one."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data_modules.loading.dataset import SampleDataset
from mpma_lightning.figures.canvas import PLAIN, RIGHT, WRONG, canvas, frame, headline, shortened, show
from mpma_lightning.figures.sheet import letters, sheet

WIDTH, WIDTHS = 96, [2.5, 8.3]
"""Letters of a line of retrieved texts; inches of a film and of texts."""
TEXTS = 12
"""Lines of a query."""


@dataclass
class Query:
    """A query and its ranking.

    Attributes:
        sample: number of the sample whose image or text it is.
        best: samples of the highest ranked items, best first.
        hits: of each, whether it is a true match.
        rank: of the first true match, from 1.
    """

    sample: int
    best: Sequence[int]
    hits: Sequence[bool]
    rank: int


def texts_of_images(data: SampleDataset, queries: Sequence[Query], items: int, true: str) -> Figure:
    """A row a film: the texts most similar to it, best first, and its own.

    Args:
        data: samples with image and text.
        queries: one a row.
        items: texts that were ranked.
        true: what makes a true match, such as ``of the same study``.
    """
    figure, axes = canvas(len(queries), 2, height=2.75, widths=WIDTHS)
    for (left, right), query in zip(axes, queries, strict=True):
        show(left, torch.as_tensor(data[query.sample]["image"]))
        left.set_title(_rank(query.rank, items), fontsize=sheet().text + 1)
        y = 1.0
        for place, (sample, hit) in enumerate(zip(query.best, query.hits, strict=True), start=1):
            y = _line(right, y, f"{place}. {'✓' if hit else '✗'} {data[sample]['text']}", RIGHT if hit else WRONG)
        if not any(query.hits):
            _line(right, y - 0.02, f"own: {data[query.sample]['text']}", PLAIN)
    headline(figure, f"For each film the most similar texts: ✓ blue = {true}, ✗ orange = not")
    return figure


def images_of_texts(data: SampleDataset, queries: Sequence[Query], items: int, true: str) -> Figure:
    """A row a text: the films most similar to it, best first, and its own; arguments as of :func:`texts_of_images`."""
    shown = max(len(query.best) for query in queries)
    widths = [3.0, *[2.0] * (shown + 1)]
    figure, axes = canvas(len(queries), 2 + shown, height=2.3, widths=widths, square=1.7, lines=TEXTS)
    for row, query in zip(axes, queries, strict=True):
        text = shortened(data[query.sample]["text"], letters(36, widths), TEXTS)
        row[0].text(0, 1, text, fontsize=sheet().text, va="top", transform=row[0].transAxes)
        row[0].set_title(
            shortened(_rank(query.rank, items), letters(38, widths), 2), fontsize=sheet().text + 1, loc="left"
        )
        for place, (sample, hit) in enumerate(zip(query.best, query.hits, strict=True), start=1):
            _film(row[place], data, sample, f"{place}. {'✓' if hit else '✗'}", RIGHT if hit else WRONG)
        _film(row[-1], data, query.sample, "own film", PLAIN)
    headline(figure, f"For each text the most similar films: ✓ blue frame = {true}, ✗ orange = not")
    return figure


def _rank(rank: int, items: int) -> str:
    return f"true match: rank {rank:,} of {items:,}"


def _line(ax: Axes, y: float, text: str, colour: str) -> float:
    """Write ``text`` at height ``y`` in at most three lines; the height below it."""
    lines = shortened(text, letters(WIDTH, WIDTHS), 3)
    ax.text(0, y, lines, fontsize=sheet().text, color=colour, va="top", transform=ax.transAxes)
    return y - 0.062 * (1.25 + lines.count("\n"))


def _film(ax: Axes, data: SampleDataset, sample: int, title: str, colour: str) -> None:
    show(ax, torch.as_tensor(data[sample]["image"]))
    frame(ax, colour)
    ax.set_title(title, fontsize=sheet().text + 1, color=colour)
