"""Decoders of segmentation: SETR-PUP on a frozen ViT, U-Net on a frozen CNN, UPerNet on four levels."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import sigmoid_focal_loss

from mpma_lightning.backbones.encoder import ImageEncoder, Levels
from mpma_lightning.distributed import gather_rows
from mpma_lightning.heads.levels import Pyramid, four_levels, last_levels, spread
from mpma_lightning.precision import full
from mpma_lightning.protocols import SegmentationProtocol

SETR_WIDTHS = (512, 256, 128, 64)  # [MGCA]
UNET_WIDTHS = (256, 128, 64, 32, 16)
POOLS = (1, 2, 3, 6)


def segmentation_head(
    encoder: ImageEncoder, protocol: SegmentationProtocol, width: int
) -> "ProgressiveHead | UNetHead | UPerHead":
    """The decoder of a protocol for this encoder, with ``width`` channels (UPerNet); it reads the maps ``levels``."""
    if protocol.decoder == "upernet":
        return UPerHead(four_levels(encoder), width)
    levels = last_levels(encoder, 5)
    return ProgressiveHead(levels) if encoder.levels.one_resolution else UNetHead(levels)


def convolution(width: int, out: int, kernel: int = 3) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(width, out, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
    )


class ProgressiveHead(nn.Module):
    """SETR-PUP: convolutions and up-sampling by 2, to the resolution of the image."""

    def __init__(self, levels: Levels) -> None:
        super().__init__()
        self.levels = levels
        width, self.blocks = levels.widths[-1], nn.ModuleList()
        for out in SETR_WIDTHS[: max(1, levels.strides[-1].bit_length() - 1)]:
            self.blocks.append(convolution(width, out))
            width = out
        self.final = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, maps: list[Tensor], side: int) -> Tensor:
        """Maps to logits (B, 1, side, side)."""
        x = maps[-1]
        for block in self.blocks:
            x = F.interpolate(block(x), scale_factor=2, mode="bilinear")
        return F.interpolate(self.final(x), (side, side), mode="bilinear")


class UNetHead(nn.Module):
    """U-Net: from the coarsest map upwards, joined with the next finer map at each step."""

    def __init__(self, levels: Levels) -> None:
        super().__init__()
        self.levels = levels
        self.strides = levels.strides[::-1]
        width, self.blocks = levels.widths[-1], nn.ModuleList()
        for skip, out in zip([*levels.widths[-2::-1], 0], UNET_WIDTHS[: len(levels.widths)], strict=True):
            self.blocks.append(nn.Sequential(convolution(width + skip, out), convolution(out, out)))
            width = out
        self.final = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, maps: list[Tensor], side: int) -> Tensor:
        """Maps, fine to coarse, to logits (B, 1, side, side)."""
        x = maps[-1]
        skips = [*maps[-2::-1], None]
        for block, skip, (coarse, fine) in zip(self.blocks, skips, pairwise((*self.strides, 1)), strict=True):
            x = spread(x, coarse // fine, (side, side) if skip is None else skip.shape[-2:])
            x = block(x if skip is None else torch.cat([x, skip], 1))
        return self.final(x)


class UPerHead(nn.Module):
    """UPerNet: pyramid pooling on the coarsest level, top-down sums, all levels fused at the finest [Xiao et al. 2018].

    Four blocks of a ViT are first resampled to strides 4, 8, 16 and 32.
    """

    def __init__(self, levels: Levels, width: int) -> None:
        super().__init__()
        self.levels = levels
        one_resolution = len(set(levels.strides)) == 1
        self.strides = (4, 8, 16, 32) if one_resolution else levels.strides
        self.neck = Pyramid(levels, self.strides, width)
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(s), nn.Conv2d(width, width // 4, 1)) for s in POOLS
        )
        self.bottleneck = convolution(2 * width, width)
        self.smooth = nn.ModuleList(convolution(width, width) for _ in range(3))
        self.fuse = convolution(4 * width, width)
        self.final = nn.Conv2d(width, 1, 1)

    def forward(self, maps: list[Tensor], side: int) -> Tensor:
        """Four maps to logits (B, 1, side, side)."""
        levels = self.neck(maps)
        top = levels[-1]
        pooled = [F.interpolate(pool(top), top.shape[-2:], mode="bilinear") for pool in self.pools]
        levels[-1] = self.bottleneck(torch.cat([top, *pooled], 1))
        for i in (2, 1, 0):
            factor = self.strides[i + 1] // self.strides[i]
            levels[i] = levels[i] + spread(levels[i + 1], factor, levels[i].shape[-2:])
        levels[:3] = [smooth(level) for smooth, level in zip(self.smooth, levels[:3], strict=True)]
        finest, first = levels[0].shape[-2:], self.strides[0]
        enlarged = [spread(level, s // first, finest) for level, s in zip(levels, self.strides, strict=True)]
        return F.interpolate(self.final(self.fuse(torch.cat(enlarged, 1))), (side, side), mode="bilinear")


def segmentation_loss(
    logits: Tensor, mask: Tensor, protocol: SegmentationProtocol, across_ranks: bool = False
) -> Tensor:
    """Focal plus Dice of one batch, a scalar.

    Args:
        logits: (B, 1, S, S).
        mask: (B, 1, S, S) of 0 and 1.
        protocol: weights.
        across_ranks: Dice of the batch of all ranks, with gradient; a collective.
    """
    logits, mask = full(logits), full(mask)
    focal = sigmoid_focal_loss(logits, mask, alpha=-1, gamma=2, reduction="mean")
    inside = logits.sigmoid()
    areas = torch.stack([(inside * mask).sum(), inside.sum() + mask.sum()]).unsqueeze(0)
    both, either = (gather_rows(areas) if across_ranks else areas).sum(0)
    dice = (2 * both + 1) / (either + 1)
    return protocol.focal * focal + (1 - dice if protocol.dice == "linear" else -dice.log())
