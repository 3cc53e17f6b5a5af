"""Baseline of image reconstruction: hidden patches interpolated from the visible ones."""

import torch
from torch import Tensor

from mpma_lightning.evaluation.epoch import Sums
from mpma_lightning.evaluation.metric import Scores, reference
from mpma_lightning.objectives.image_reconstruction import normalise_patches, patchify


def interpolate_hidden(image: Tensor, masked: Tensor, grid: tuple[int, int]) -> Tensor:
    """Interpolate hidden patches from visible pixels by a pyramid of normalised averages.

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


class InterpolationEvaluator:
    """Mean squared error of interpolation over the hidden patches of all batches, normalised as in the loss.

    The interpolated patches are multiplied by the one factor with the least error on these samples. This favours the
    baseline: normalisation enlarges its false details, which would otherwise raise the error.
    """

    def __init__(self) -> None:
        self._sums = Sums()

    def add(self, estimate: Tensor, target: Tensor, masked: Tensor, patch: int) -> None:
        """Add a batch.

        Args:
            estimate, target: (B, C, H, W).
            masked: (B, L) bool, hidden patches.
            patch: side of a patch in pixels.
        """
        guess, truth = (normalise_patches(patchify(x, patch))[masked].double() for x in (estimate, target))
        self._sums.add(
            truth=truth.square().sum(), product=(truth * guess).sum(), guess=guess.square().sum(), values=guess.numel()
        )

    def compute(self) -> Scores:
        """The error over all ranks, and start afresh; empty without hidden patches. A collective."""
        sums = self._sums.gather()
        if not sums.get("values"):
            return {}
        error = (sums["truth"] - sums["product"] ** 2 / max(sums["guess"], 1e-12)) / sums["values"]
        return {reference("interpolation_mse", unit="error"): error}
