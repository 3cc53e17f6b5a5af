"""Feature maps of an image encoder: choice of levels, and a pyramid for a ViT, whose maps have one resolution."""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from data_modules.errors import UserError
from mpma_lightning.backbones.encoder import ImageEncoder, Levels

VIT_SHARES = (4 / 12, 6 / 12, 8 / 12, 1.0)
"""Depth of the four levels of a ViT: blocks 4, 6, 8 and 12 of 12 [MRM]."""


def last_levels(encoder: ImageEncoder, count: int, least: int = 1) -> Levels:
    """The last ``count`` maps, or all of fewer; only the last one if all have the same resolution.

    Raises:
        UserError: the encoder has maps of several resolutions, but fewer than ``least``.
    """
    every = encoder.levels
    if every.one_resolution:
        return every.at((-1,))
    if len(every.indices) < least:
        raise UserError(
            f"the image encoder has {len(every.indices)} feature maps; expected {least} or more for this head: choose "
            "another model.backbone.image.encoder, or a head that needs fewer"
        )
    return every.at(range(len(every.indices))[-count:])


def four_levels(encoder: ImageEncoder) -> Levels:
    """Four blocks of a ViT (repeated if it has fewer), or the last four maps of a CNN; UserError if it has fewer."""
    every = encoder.levels
    if not every.one_resolution:
        return last_levels(encoder, 4, least=4)
    depth = len(every.indices)
    return every.at(tuple(max(1, math.ceil(share * depth)) - 1 for share in VIT_SHARES))


class Pyramid(nn.Module):
    """Resamples every map by a power of two: up by transposed convolutions, down by max-pooling [simple feature
    pyramid, ViTDet; BEiT's segmentation neck].

    Args:
        levels: of the input maps.
        strides: of the output maps in pixels, one for each input map.
        out: channels of the output maps.
    """

    def __init__(self, levels: Levels, strides: tuple[int, ...], out: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(
            nn.Sequential(*_resample(width, stride, wanted), nn.Conv2d(width, out, 1), nn.GroupNorm(1, out))
            for width, stride, wanted in zip(levels.widths, levels.strides, strides, strict=True)
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps (B, C, h, w) to maps (B, out, H, W)."""
        return [step(one) for step, one in zip(self.steps, maps, strict=True)]


def _resample(width: int, stride: int, wanted: int) -> list[nn.Module]:
    if stride <= wanted:
        return [nn.MaxPool2d(wanted // stride, ceil_mode=True)] if stride < wanted else []
    layers: list[nn.Module] = []
    while stride > wanted:
        layers += [nn.ConvTranspose2d(width, width, 2, 2), nn.GroupNorm(1, width), nn.GELU()]
        stride //= 2
    return layers


def spread(level: Tensor, factor: int, size: Sequence[int]) -> Tensor:
    """(B, C, h, w) enlarged by an integer ``factor``, so that every cell keeps its place on the image.

    The last cells of a coarse map may end beyond the image or before it: the result is cropped to ``size``, or its
    border is repeated.
    """
    enlarged = F.interpolate(level, scale_factor=factor, mode="bilinear")[..., : size[0], : size[1]]
    missing = (0, size[1] - enlarged.shape[-1], 0, size[0] - enlarged.shape[-2])
    return F.pad(enlarged, missing, mode="replicate") if any(missing) else enlarged
