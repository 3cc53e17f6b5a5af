"""What reconstruction must beat: filling hidden patches by interpolation from the visible ones."""

import torch
from torch import Tensor

from mpma_lightning.objectives.image_reconstruction import normalise_patches, patchify


def interpolate_hidden(image: Tensor, masked: Tensor, grid: tuple[int, int]) -> Tensor:
    """Fill hidden patches smoothly from visible pixels: a Gaussian pyramid of normalised convolutions.

    Args:
        image: (B, C, H, W) floats.
        masked: (B, L) bool, true where a patch is hidden.
        grid: (H', W').

    Returns:
        (B, C, H, W); visible pixels unchanged.
    """
    height, width = image.shape[-2:]
    hidden = masked.reshape(-1, 1, *grid).repeat_interleave(height // grid[0], 2).repeat_interleave(width // grid[1], 3)
    visible = (~hidden).to(image.dtype)
    filled, weight = image * visible, visible
    levels = [(filled, weight)]
    while min(filled.shape[-2:]) > 1:
        filled, weight = (torch.nn.functional.avg_pool2d(x, 2, ceil_mode=True) for x in (filled, weight))
        levels.append((filled, weight))
    estimate = levels[-1][0] / levels[-1][1].clamp(min=1e-8)
    for filled, weight in reversed(levels[:-1]):
        coarse = torch.nn.functional.interpolate(estimate, filled.shape[-2:], mode="bilinear", align_corners=False)
        trust = weight.clamp(max=1)
        estimate = trust * (filled / weight.clamp(min=1e-8)) + (1 - trust) * coarse
    return torch.where(hidden, estimate, image)


def scaled_error(estimate: Tensor, target: Tensor, masked: Tensor, patch: int) -> tuple[float, float, float]:
    """Sums (truth², truth · guess, guess²) over masked patches, both normalised per patch as in the loss.

    With one scale a chosen on the very same data, the error truth² − 2a truth·guess + a² guess² is at its
    smallest: :func:`least_error`. That favours interpolation, which otherwise pays for its false details.
    """
    guess = normalise_patches(patchify(estimate, patch))[masked].double()
    truth = normalise_patches(patchify(target, patch))[masked].double()
    return float(truth.square().sum()), float((truth * guess).sum()), float(guess.square().sum())


def least_error(truth: float, product: float, guess: float, values: int) -> float:
    """Mean squared error of the best-scaled guess over ``values`` pixels."""
    return (truth - product**2 / max(guess, 1e-12)) / values
