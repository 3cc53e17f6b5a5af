"""Figures of masks, boxes and maps beside the truth."""

from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from mpma_lightning.evaluation.grounding import Film, pointed_at
from mpma_lightning.figures.canvas import FOUND, TRUTH, canvas, enlarged, gray, rectangle


def masks(image: Tensor, truth: Tensor, found: Tensor, names: list[str]) -> Figure:
    """Image, and on it the outline of the truth (green) and of what was found (orange).

    Args:
        image: (N, C, S, S).
        truth, found: (N, 1, S, S), 0 outside.
        names: titles.
    """
    figure, axes = canvas(len(image), 2)
    for row, (left, right) in enumerate(axes):
        for ax in (left, right):
            ax.imshow(gray(image[row]), cmap="gray")
        for mask, colour in ((truth, TRUTH), (found, FOUND)):
            values = mask[row, 0].float().cpu().numpy()
            if 0 < values.mean() < 1:
                right.contour(values, [0.5], colors=[colour], linewidths=1)
        left.set_title(Path(names[row]).name[:24], fontsize=7)
    figure.suptitle("green: truth, orange: found", fontsize=8)
    return figure


def boxes(image: Tensor, truth: list[dict[str, Tensor]], found: list[dict[str, Tensor]], classes: list[str]) -> Figure:
    """Images with their boxes (green) and the three surest detections each (orange, with class and score)."""
    figure, axes = canvas(-(-len(image) // 3), 3, 3.2, 3.3)
    for i, ax in zip(range(len(image)), axes.flat, strict=False):
        ax.imshow(gray(image[i]), cmap="gray")
        for box, label in zip(truth[i]["boxes"].tolist(), truth[i]["labels"].tolist(), strict=True):
            rectangle(ax, box, TRUTH, classes[label])
        surest = found[i]["scores"].argsort(descending=True)[:3].tolist()
        for k in surest:
            score = float(found[i]["scores"][k])
            rectangle(ax, found[i]["boxes"][k].tolist(), FOUND, f"{classes[int(found[i]['labels'][k])]} {score:.2f}")
    figure.suptitle("green: truth, orange: found", fontsize=8)
    return figure


def grounding(image: Tensor, maps: Tensor, truth: list[Tensor], phrases: list[str], films: list[Film]) -> Figure:
    """Images under the map of their phrase, with its boxes (green) and the most similar patch of the film (cross)."""
    figure, axes = canvas(-(-len(image) // 3), 3, 3.2, 3.4)
    for i, ax in zip(range(len(image)), axes.flat, strict=False):
        heat = enlarged(maps[i], image.shape[-2:])
        ax.imshow(gray(image[i]), cmap="gray")
        ax.imshow(heat, cmap="inferno", alpha=0.45)
        y, x = pointed_at(maps[i].float().cpu().numpy(), heat.shape[0], heat.shape[1], films[i])
        ax.plot(x, y, marker="+", color="white", markersize=10)
        for box in truth[i].tolist():
            rectangle(ax, box, TRUTH, "")
        ax.set_title(phrases[i][:48], fontsize=7)
    return figure
