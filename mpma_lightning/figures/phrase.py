"""One film, one sentence, and where the film shows what the sentence says."""

import numpy as np
from matplotlib.figure import Figure

from mpma_lightning.evaluation.reports.evidence import boxes_of
from mpma_lightning.figures.canvas import (
    FOUND,
    MAP,
    canvas,
    headline,
    pointer,
    rectangle,
    scale_bar,
    scale_of,
    shortened,
)
from mpma_lightning.figures.sheet import letters, sheet

WIDTH, BAR = 3.5, 1.2
"""Inches of each film, and of the scale of colours beside them."""


def phrase_map(film: np.ndarray, heat: np.ndarray, sentence: str, scale_label: str) -> Figure:
    """The film, and beside it the map over it with the strongest region boxed and its highest value marked.

    Args:
        film: (H, W) or (H, W, 3) pixels.
        heat: (H, W), NaN where the model did not look.
        sentence: the text.
        scale_label: what the colours say.
    """
    shown = film.astype(float).mean(-1) if film.ndim == 3 else film
    known = np.nan_to_num(heat, nan=float(np.nanmin(heat)))
    scale = scale_of(known)
    tall = min(2.0, shown.shape[0] / shown.shape[1])
    widths = [WIDTH + BAR / 2] * 2
    figure, axes = canvas(1, 2, height=WIDTH * tall + 0.7, widths=widths, square=WIDTH * tall)
    for ax in axes[0]:
        ax.imshow(shown, cmap="gray")
    axes[0, 0].set_title("film", fontsize=sheet().text + 1)
    axes[0, 1].set_title(shortened(f"“{sentence}”", letters(46, widths), 3), fontsize=sheet().text + 1)
    axes[0, 1].imshow(heat, cmap=MAP, alpha=0.5, norm=scale)
    for x1, y1, x2, y2 in boxes_of(known)[:1]:
        rectangle(axes[0, 1], [x1, y1, x2, y2], FOUND)
    y, x = np.unravel_index(int(known.argmax()), known.shape)
    pointer(axes[0, 1], int(x), int(y))
    scale_bar(figure, axes[0], scale, scale_label)
    headline(figure, f"Where the model sees “{sentence.rstrip('. ')}”",
             "dashed: the region above 60 % of the map's range; cross: its highest value")  # fmt: skip
    return figure
