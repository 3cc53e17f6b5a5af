"""Reconstructions of the same films with more and more of their patches hidden."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor

from mpma_lightning.figures.canvas import NOTHING, canvas, gray, headline
from mpma_lightning.figures.sheet import sheet
from mpma_lightning.objectives.image_reconstruction import normalise_patches, patchify, unpatchify


@dataclass
class Rebuilt:
    """What the model makes of films of which a share ``ratio`` of the patches is hidden.

    Attributes:
        hidden: (N, P) bool.
        guess: (N, P, d) normalised patches.
    """

    ratio: float
    hidden: Tensor
    guess: Tensor


def mask_ratios(films: Tensor, grid: tuple[int, int], rebuilt: Sequence[Rebuilt]) -> Figure:
    """Two rows a film: what the model sees at each ratio, and below it its guess of what is hidden, with its error.

    As in the figure ``reconstruction``, a guess gets the true mean and contrast of each hidden patch.

    Args:
        films: (N, C, S, S).
        grid: patches (rows, columns).
        rebuilt: one a column.
    """
    side = films.shape[-1] // grid[1]
    patches = patchify(films.float(), side)
    truth = normalise_patches(patches)
    mean, deviation = patches.mean(-1, keepdim=True), (patches.var(-1, keepdim=True) + 1e-6).sqrt()
    figure, axes = canvas(2 * len(films), 1 + len(rebuilt), 1.9, 2.1, square=1.8)
    shades = colormaps["gray"].with_extremes(bad=NOTHING)
    axes[0, 0].set_title("film", fontsize=sheet().text)

    def draw(row: int, column: int, values: Tensor) -> None:
        film = row // 2
        image = gray(unpatchify(values[film][None], grid, films.shape[1])[0])
        low, high = float(patches[film].amin()), float(patches[film].amax())
        axes[row, column].imshow(image, cmap=shades, vmin=low, vmax=high)

    for film in range(len(films)):
        draw(2 * film, 0, patches)
    for column, one in enumerate(rebuilt, start=1):
        hidden, guess = one.hidden[..., None], one.guess.float()
        error = (guess - truth).square().mean(-1)
        axes[0, column].set_title(f"{one.ratio:.0%} hidden", fontsize=sheet().text)
        for film in range(len(films)):
            draw(2 * film, column, patches.masked_fill(hidden, torch.nan))
            draw(2 * film + 1, column, torch.where(hidden, guess * deviation + mean, patches))
            below, ax = f"error {float(error[film][one.hidden[film]].mean()):.2f}", axes[2 * film + 1, column]
            ax.text(0.5, -0.02, below, fontsize=sheet().text, ha="center", va="top", transform=ax.transAxes)
    headline(figure, "Films with more and more of their patches hidden, and the model's guess of these",
             "error: mean square of the hidden patches, in units of a patch's variance; 1 is that of a plain gray "
             "patch")  # fmt: skip
    return figure
