"""What a person would rather look at: pre-training batches, masks, boxes and maps, as matplotlib figures."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.evaluation.grounding import Film, pointed_at
from mpma_lightning.objectives import PretrainingState
from mpma_lightning.objectives.image_reconstruction import patchify, unpatchify

RIGHT, WRONG, PLAIN = "#1a7f37", "#cf222e", "#57606a"


def canvas(rows: int, columns: int, width: float = 2.2, height: float = 2.3) -> tuple[Figure, np.ndarray]:
    """A figure of ``rows`` x ``columns`` cells of the given size in inches, without axes."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    return figure, axes


def gray(image: Tensor) -> np.ndarray:
    """(H, W) mean over the channels."""
    return image.detach().float().mean(0).cpu().numpy()


def reconstruction(state: PretrainingState, count: int = 4) -> Figure:
    """Input, what the encoder saw, what the decoder made of it, and the two together; one row a sample."""
    assert state.target is not None and state.image_mask is not None
    grid = state.image_features.grid
    assert grid is not None
    channels = state.target.shape[1]
    patches = patchify(state.target.float(), state.target.shape[-1] // grid[1])
    mean, std = patches.mean(-1, keepdim=True), (patches.var(-1, keepdim=True) + 1e-6).sqrt()
    predicted = state.outputs["image_prediction"].float() * std + mean
    masked = state.image_mask.masked.unsqueeze(-1)
    shown = {
        "input": patches,
        "visible": torch.where(masked, patches.amin(), patches),
        "predicted": predicted,
        "visible + predicted": torch.where(masked, predicted, patches),
    }
    count = min(count, len(patches))
    figure, axes = canvas(count, len(shown))
    for column, (title, values) in enumerate(shown.items()):
        images = unpatchify(values[:count], grid, channels)
        for row in range(count):
            low, high = float(patches[row].amin()), float(patches[row].amax())
            axes[row, column].imshow(gray(images[row]), cmap="gray", vmin=low, vmax=high)
        axes[0, column].set_title(title, fontsize=9)
    figure.suptitle("Predicted patches carry the true patch's mean and contrast, as in MAE", fontsize=8)
    return figure


def report(state: PretrainingState, tokenizer: Tokenizer, count: int = 4) -> Figure:
    """The report; masked pieces as predicted, green when right, red (with the truth) when wrong."""
    assert state.input_ids is not None and state.report_mask is not None and state.word_ids is not None
    count = min(count, len(state.input_ids))
    figure, axes = canvas(count, 1, width=11, height=1.7)
    masked = state.report_mask.masked.cpu()
    guesses = torch.zeros_like(state.input_ids.cpu())
    guesses[masked] = state.outputs["report_prediction"].cpu()
    for row in range(count):
        x, y = 0.0, 0.92
        for position, true_id in enumerate(state.input_ids[row].tolist()):
            if not state.attention_mask[row, position] or true_id in (tokenizer.cls_id, tokenizer.sep_id):  # type: ignore[index]
                continue
            truth, colour = tokenizer.piece(true_id), PLAIN
            text = truth
            if masked[row, position]:
                guess = tokenizer.piece(int(guesses[row, position]))
                text, colour = (truth, RIGHT) if guess == truth else (f"{guess} [{truth}]", WRONG)
            width = 0.0078 * (len(text) + 1)
            if x + width > 1:
                x, y = 0.0, y - 0.14
            weight = "bold" if masked[row, position] else "normal"
            axes[row, 0].text(x, y, text, color=colour, fontsize=8, family="monospace", weight=weight)
            x += width
        axes[row, 0].set(xlim=(0, 1), ylim=(0, 1))
    figure.suptitle("Masked pieces in bold: green right, red wrong [truth]", fontsize=8)
    return figure


def word_maps(image: Tensor, maps: Tensor, words: list[str], title: str) -> Figure:
    """One image and, for each word, where it looks: similarity of the word to every patch.

    Args:
        image: (C, H, W).
        maps: (W, H', W').
        words: W names.
        title: of the figure.
    """
    figure, axes = canvas(1, len(words) + 1)
    axes[0, 0].imshow(gray(image), cmap="gray")
    for ax, word, values in zip(axes[0, 1:], words, maps, strict=True):
        size = image.shape[-2:]
        heat = torch.nn.functional.interpolate(values[None, None].float(), size, mode="bilinear")[0, 0]
        ax.imshow(gray(image), cmap="gray")
        ax.imshow(heat.cpu().numpy(), cmap="inferno", alpha=0.5)
        ax.set_title(word, fontsize=9)
    figure.suptitle(title, fontsize=8)
    return figure


def similarity(image: Tensor, text: Tensor, group: Tensor) -> Figure:
    """Cosine of every image with every report of a batch; pairs of one group lie on the marked cells."""
    figure, axes = canvas(1, 1, 4.6, 4.4)
    axes[0, 0].imshow((image @ text.T).detach().float().cpu().numpy(), cmap="viridis")
    rows, columns = np.nonzero((group[:, None] == group[None]).cpu().numpy())
    axes[0, 0].scatter(columns, rows, s=3, c="white", marker=".")
    axes[0, 0].set_title("images × reports; dots: same group", fontsize=9)
    return figure


TRUTH, FOUND = "#2da44e", "#fb8500"


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
            _rectangle(ax, box, TRUTH, classes[label])
        surest = found[i]["scores"].argsort(descending=True)[:3].tolist()
        for k in surest:
            score = float(found[i]["scores"][k])
            _rectangle(ax, found[i]["boxes"][k].tolist(), FOUND, f"{classes[int(found[i]['labels'][k])]} {score:.2f}")
    figure.suptitle("green: truth, orange: found", fontsize=8)
    return figure


def grounding(image: Tensor, maps: Tensor, truth: list[Tensor], phrases: list[str], films: list[Film]) -> Figure:
    """Images under the map of their phrase, with its boxes (green) and the most similar patch of the film (cross)."""
    figure, axes = canvas(-(-len(image) // 3), 3, 3.2, 3.4)
    for i, ax in zip(range(len(image)), axes.flat, strict=False):
        size = image.shape[-2:]
        heat = torch.nn.functional.interpolate(maps[i][None, None].float(), size, mode="bilinear")[0, 0].cpu().numpy()
        ax.imshow(gray(image[i]), cmap="gray")
        ax.imshow(heat, cmap="inferno", alpha=0.45)
        y, x = pointed_at(maps[i].float().cpu().numpy(), heat.shape[0], heat.shape[1], films[i])
        ax.plot(x, y, marker="+", color="white", markersize=10)
        for box in truth[i].tolist():
            _rectangle(ax, box, TRUTH, "")
        ax.set_title(phrases[i][:48], fontsize=7)
    return figure


def _rectangle(ax: Any, corners: list[float], colour: str, text: str) -> None:
    x1, y1, x2, y2 = corners
    ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=1.2))
    ax.text(x1, max(y1 - 2, 4), text, color=colour, fontsize=6)
