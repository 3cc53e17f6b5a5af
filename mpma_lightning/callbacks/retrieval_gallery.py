"""Retrieval gallery: queries with the five best answers in both directions, hits marked; PNG and TensorBoard."""

import textwrap
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data_modules.base import attached_data
from data_modules.loading.dataset import SampleDataset
from mpma_lightning.callbacks.pictures import keep
from mpma_lightning.drawing import PLAIN, RIGHT, WRONG, canvas, gray
from mpma_lightning.evaluation.both_directions import DIRECTIONS
from mpma_lightning.tasks.retrieval import RetrievalTask

BEST = 5


class RetrievalGallery(Callback):
    """``pictures/retrieval_i2t.png`` and ``…_t2i.png`` of each validation and test, as the scorer ranks; rank 0

    Queries are spread evenly over the split. The pictures show data in use: they stay under its terms of use.

    Args:
        queries: rows in each picture.
    """

    def __init__(self, queries: int = 4) -> None:
        self.queries = queries

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._draw(trainer, pl_module, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._draw(trainer, pl_module, "test")

    def _draw(self, trainer: Trainer, task: LightningModule, split: str) -> None:
        assert isinstance(task, RetrievalTask)
        if not trainer.is_global_zero or not len(task.evaluated["group"]):
            return
        rows, data = task.evaluated, attached_data(trainer).samples(split)
        place = {name: i for i, name in enumerate(data.table.column("id").to_pylist())}
        chosen = np.unique(np.linspace(0, len(rows["group"]) - 1, self.queries).astype(int))
        for name, (query, gallery) in DIRECTIONS.items():
            scores = rows[query][chosen] @ rows[gallery].T
            if task.orders is not None:
                order = task.orders[name]
                scores = np.concatenate(
                    [order.of(slice(row, row + 1))(scores[[i]], 0) for i, row in enumerate(chosen.tolist())]
                )
            best = np.argsort(-scores, axis=1, kind="stable")[:, :BEST]
            where = [[place[rows["id"][j]] for j in (row, *found)] for row, found in zip(chosen, best, strict=True)]
            hits = rows["group"][chosen, None] == rows["group"][best]
            keep(trainer, f"retrieval_{name}", draw(data, where, hits, query, gallery))


def draw(data: SampleDataset, where: list[list[int]], hits: np.ndarray, query: str, gallery: str) -> Figure:
    """One row a query: the query, then what was found, best first, its frame green for a hit and red otherwise.

    Args:
        data: samples with image and text.
        where: of each row the samples: the query's, then the found ones'.
        hits: (rows, found).
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
        ax.imshow(gray(torch.as_tensor(sample["image"])), cmap="gray")
    else:
        ax.text(0.03, 0.97, textwrap.fill(sample["text"][:330], 34), fontsize=6, va="top", transform=ax.transAxes)
