"""Figures of predicted masks, boxes and maps with the annotations."""

from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from mpma_lightning.evaluation.grounding import Film, pointed_at
from mpma_lightning.figures.canvas import FOUND, TRUTH, canvas, rectangle, show


def masks(image: Tensor, truth: Tensor, found: Tensor, names: list[str]) -> Figure:
    """Images, and the outlines of the annotated mask (green) and the predicted one (orange).

    Args:
        image: (N, C, S, S).
        truth, found: (N, 1, S, S) annotated and predicted masks, 0 outside.
        names: N titles.
    """
    figure, axes = canvas(len(image), 2)
    for row, (left, right) in enumerate(axes):
        for ax in (left, right):
            show(ax, image[row])
        for mask, colour in ((truth, TRUTH), (found, FOUND)):
            values = mask[row, 0].float().cpu().numpy()
            if 0 < values.mean() < 1:
                right.contour(values, [0.5], colors=[colour], linewidths=1)
        left.set_title(Path(names[row]).name[:24], fontsize=7)
    figure.suptitle("green: annotated, orange: predicted", fontsize=8)
    return figure


def boxes(image: Tensor, truth: list[dict[str, Tensor]], found: list[dict[str, Tensor]], classes: list[str]) -> Figure:
    """Images with annotated boxes (green) and the three detections of highest score (orange, class and score)."""
    figure, axes = canvas(-(-len(image) // 3), 3, 3.2, 3.3)
    for i, ax in zip(range(len(image)), axes.flat, strict=False):
        show(ax, image[i])
        for box, label in zip(truth[i]["boxes"].tolist(), truth[i]["labels"].tolist(), strict=True):
            rectangle(ax, box, TRUTH, classes[label])
        best = found[i]["scores"].argsort(descending=True)[:3].tolist()
        for k in best:
            score = float(found[i]["scores"][k])
            rectangle(ax, found[i]["boxes"][k].tolist(), FOUND, f"{classes[int(found[i]['labels'][k])]} {score:.2f}")
    figure.suptitle("green: annotated, orange: predicted", fontsize=8)
    return figure


def grounding(image: Tensor, maps: Tensor, truth: list[Tensor], phrases: list[str], films: list[Film]) -> Figure:
    """Similarity maps over the images, with the annotated boxes (green) and the most similar patch (cross)."""
    figure, axes = canvas(-(-len(image) // 3), 3, 3.2, 3.4)
    for i, ax in zip(range(len(image)), axes.flat, strict=False):
        show(ax, image[i], maps[i], alpha=0.45)
        y, x = pointed_at(maps[i].float().cpu().numpy(), image.shape[-2], image.shape[-1], films[i])
        ax.plot(x, y, marker="+", color="white", markersize=10)
        for box in truth[i].tolist():
            rectangle(ax, box, TRUTH, "")
        ax.set_title(phrases[i][:48], fontsize=7)
    return figure
