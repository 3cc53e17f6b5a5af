"""Figures of predicted masks, boxes and maps with the annotations."""

from pathlib import PurePath

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from mpma_lightning.evaluation.grounding import Film, pointed_at
from mpma_lightning.evaluation.segmentation import per_image
from mpma_lightning.figures.canvas import (
    FOUND,
    RIGHT,
    TRUTH,
    WRONG,
    canvas,
    frame,
    headline,
    legend_of_annotations,
    pointer,
    rectangle,
    scale_bar,
    scale_of,
    shortened,
    show,
)
from mpma_lightning.figures.sheet import is_single, letters, sheet

SHOWN_SCORE = 0.3
"""Detections with a lower score are not drawn."""
COLUMNS = 3
NAME = 28
"""Letters shown of the name of a film."""


def masks(image: Tensor, truth: Tensor, found: Tensor, names: list[str], what: str) -> Figure:
    """A film, and the same with the outlines of the annotated and of the predicted mask and their Dice.

    Args:
        image: (N, C, S, S).
        truth, found: (N, 1, S, S) annotated and predicted masks, 0 outside.
        names: N titles.
        what: the masks show.
    """
    real, guess = (values.cpu().numpy() > 0 for values in (truth[:, 0], found[:, 0]))
    dice, _ = per_image((real & guess).sum((1, 2)), guess.sum((1, 2)), real.sum((1, 2)))
    across = 1 if is_single() else 2
    figure, axes = canvas(-(-len(image) // across), 2 * across, 2.6, 2.95, square=2.6)
    longest = letters(NAME, [2.6] * 2 * across)
    for i, (left, right) in enumerate(axes.reshape(-1, 2)[: len(image)]):
        name = PurePath(names[i]).name
        for ax in (left, right):
            show(ax, image[i])
        for mask, colour, line in ((real[i], TRUTH, "solid"), (guess[i], FOUND, "dashed")):
            if mask.any() and not mask.all():
                right.contour(mask, [0.5], colors=[colour], linewidths=1.6, linestyles=line)
        left.set_title(name if len(name) <= longest else f"{name[: longest - 1]}…", fontsize=sheet().text, loc="left")
        kind = f"Dice {dice[i]:.2f}" if guess[i].any() else "nothing predicted: Dice 0"
        right.set_title(kind if real[i].any() else f"no {what} there; {kind}", fontsize=sheet().text + 1, loc="left")
    headline(figure, f"Films with {what}")
    legend_of_annotations(figure)
    return figure


def boxes(image: Tensor, truth: list[dict[str, Tensor]], found: list[dict[str, Tensor]], classes: list[str]) -> Figure:
    """Films with annotated boxes, and with the detections of a score of ``SHOWN_SCORE`` or more."""
    figure, axes = _grid(len(image))
    for i, ax in zip(range(len(image)), axes.flat, strict=False):
        show(ax, image[i])
        for box, label in zip(truth[i]["boxes"].tolist(), truth[i]["labels"].tolist(), strict=True):
            rectangle(ax, box, TRUTH, classes[label] if len(classes) > 1 else "")
        scores = found[i]["scores"]
        shown = [k for k in scores.argsort(descending=True).tolist() if float(scores[k]) >= SHOWN_SCORE]
        for k in shown:
            name = f"{classes[int(found[i]['labels'][k])]} " if len(classes) > 1 else ""
            rectangle(ax, found[i]["boxes"][k].tolist(), FOUND, f"{name}{float(scores[k]):.2f}")
        highest = f"; the highest is {float(scores.max()):.2f}" if len(scores) else ""
        title = f"{len(truth[i]['boxes'])} annotated, {len(shown)} predicted"
        ax.set_title(title if shown else f"{title}{highest}", fontsize=sheet().text)
    what = classes[0] if len(classes) == 1 else "annotations"
    headline(figure, f"Films with {what}; predicted boxes with a score of at least {SHOWN_SCORE}")
    legend_of_annotations(figure)
    return figure


def grounding(
    image: Tensor, maps: Tensor, truth: list[Tensor], phrases: list[str], films: list[Film], hits: list[bool]
) -> Figure:
    """Similarity maps over the films, with the annotated boxes, the most similar patch, and whether it counts as a hit.

    Args:
        image, maps: (N, C, S, S) and (N, H', W').
        truth: boxes (n, 4) of at least N phrases, in pixels.
        phrases, films, hits: of at least N: the text, the part of the crop that shows the image, and the outcome
            of the pointing game.
    """
    figure, axes = _grid(len(image))
    for i, ax in zip(range(len(image)), axes.flat, strict=False):
        scale, (height, width) = scale_of(maps[i]), image.shape[-2:]
        show(ax, image[i], maps[i], scale)
        y, x = pointed_at(maps[i].float().cpu().numpy(), height, width, films[i])
        pointer(ax, x, y)
        for box in truth[i].tolist():
            rectangle(ax, box, TRUTH)
        colour = RIGHT if hits[i] else WRONG
        frame(ax, colour)
        ax.set_title("hit" if hits[i] else "miss", fontsize=sheet().text + 1, color=colour, weight="bold", loc="left")
        ax.set_xlabel(shortened(phrases[i], letters(44, [3.5] * axes.shape[1]), 2), fontsize=sheet().text)
        scale_bar(figure, np.array([ax]), scale, "")
    headline(figure, f"Where the model sees each phrase: {sum(hits[: len(image)])} of {len(image)} are hits",
             "box: annotated; cross: the most similar patch; colour: cosine of phrase and patch")  # fmt: skip
    return figure


def _grid(count: int) -> tuple[Figure, np.ndarray]:
    columns = min(count, 2 if is_single() else COLUMNS)
    return canvas(-(-count // columns), columns, 3.5, 3.7, square=3.0)
