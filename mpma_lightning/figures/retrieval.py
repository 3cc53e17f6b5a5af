"""Figures of retrieval: queries with the highest ranked items."""

import textwrap
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data_modules.loading.dataset import SampleDataset
from mpma_lightning.figures.canvas import PLAIN, RIGHT, WRONG, canvas, show


def gallery_figure(data: SampleDataset, where: list[list[int]], hits: np.ndarray, query: str, gallery: str) -> Figure:
    """One row per query: the query, then the retrieved items, best first; green frames mark hits, red ones misses.

    Args:
        data: samples with image and text.
        where: sample numbers of each row: the query, then the retrieved items.
        hits: (rows, items) bool.
        query, gallery: ``image`` or ``text``.
    """
    figure, axes = canvas(len(where), len(where[0]), 2.3, 2.4)
    for row, samples in enumerate(where):
        for column, i in enumerate(samples):
            colour = PLAIN if column == 0 else RIGHT if hits[row, column - 1] else WRONG
            _cell(axes[row, column], data[i], query if column == 0 else gallery, colour)
    axes[0, 0].set_title("query", fontsize=9)
    for column in range(1, len(where[0])):
        axes[0, column].set_title(f"{column}.", fontsize=9)
    figure.suptitle(f"{query} → {gallery}: green frames are hits", fontsize=9)
    return figure


def _cell(ax: Axes, sample: dict[str, Any], kind: str, colour: str) -> None:
    ax.set_axis_on()
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(color=colour, linewidth=2.5)
    if kind == "image":
        show(ax, torch.as_tensor(sample["image"]))
    else:
        ax.text(0.03, 0.97, textwrap.fill(sample["text"][:330], 34), fontsize=6, va="top", transform=ax.transAxes)
