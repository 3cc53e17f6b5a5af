"""Figures of pre-training: reconstructed images and reports, similarity of words and patches, and of pairs."""

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.figures.canvas import PLAIN, RIGHT, WRONG, canvas, gray, show
from mpma_lightning.objectives import PretrainingState
from mpma_lightning.objectives.image_reconstruction import patchify, unpatchify


def reconstruction(state: PretrainingState, count: int = 4) -> Figure:
    """Input, visible patches, predicted patches, and both together; one row per sample."""
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
    """Reports with the predicted word-pieces in bold: green for a correct one, red with the truth for a wrong one."""
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
    figure.suptitle("Masked pieces in bold: green: correct, red: wrong [truth]", fontsize=8)
    return figure


def word_maps(image: Tensor, maps: Tensor, words: list[str], title: str) -> Figure:
    """One image and, for each word, the similarity of the word to every patch.

    Args:
        image: (C, H, W).
        maps: (W, H', W').
        words: W names.
        title: of the figure.
    """
    figure, axes = canvas(1, len(words) + 1)
    show(axes[0, 0], image)
    for ax, word, values in zip(axes[0, 1:], words, maps, strict=True):
        show(ax, image, values)
        ax.set_title(word, fontsize=9)
    figure.suptitle(title, fontsize=8)
    return figure


def similarity(image: Tensor, text: Tensor, group: Tensor) -> Figure:
    """Cosine of every image with every report of a batch; dots mark pairs of one group."""
    figure, axes = canvas(1, 1, 5.2, 4.4)
    ax = axes[0, 0]
    cosines = ax.imshow((image @ text.T).detach().float().cpu().numpy(), cmap="viridis")
    rows, columns = np.nonzero((group[:, None] == group[None]).cpu().numpy())
    ax.scatter(columns, rows, s=3, c="white", marker=".")
    ax.set_axis_on()
    ax.set(xlabel="report", ylabel="image", title="Cosine similarity; dots: positive pairs")
    figure.colorbar(cosines, ax=ax)
    return figure
