"""A convolutional patch embedding whose tokens know the pixels around their patch, and nothing of hidden patches."""

import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from data_modules.errors import UserError

ABOVE_LEFT, BELOW_RIGHT = (1, 0, 1, 0), (0, 1, 0, 1)
"""Pixels added (left, right, top, bottom)."""


class Halving(nn.Module):
    """(B, C, 2h, 2w) to (B, D, h, w): a 3×3 convolution of stride 2 and perhaps a 1×1 convolution, with norms and ReLU.

    The norm is over the channels of each position by itself: a norm over positions would tell every patch of the whole
    image before any attention. The border repeats its pixels: zeros would mark the patches along it.
    """

    def __init__(self, channels: int, out: int, border: tuple[int, int, int, int], mixes: bool) -> None:
        super().__init__()
        self.border = border
        self.halve = nn.Sequential(nn.Conv2d(channels, out, 3, 2), LayerNorm2d(out), nn.ReLU())
        self.mix = nn.Sequential(nn.Conv2d(out, out, 1), LayerNorm2d(out), nn.ReLU()) if mixes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(self.halve(F.pad(x, self.border, mode="replicate")))


class ConvolutionalStem(nn.Module):
    """Convolutions that halve the image until one pixel is one patch; replaces ``patch_embed`` of a timm ViT.

    Early convolutions let a ViT learn from far fewer samples [Xiao et al., NeurIPS 2021]. Hidden patches are set to
    zero before the first stage and after every one, so that visible tokens do not depend on them [ConvMAE, NeurIPS
    2022]. A token of a patch of p pixels sees 2p - 1 pixels in each direction.

    Padded at the top left, a 3×3 convolution of stride 2 is centred half a pixel above and left of the pixels it
    represents, which adds up to half a patch over all stages. The last stage is therefore padded at the bottom right;
    half a pixel of the image remains.

    Args:
        patch_size: side of a patch in pixels; a power of two.
        grid_size: patches of the nominal image, for the resampling of position embeddings.
        out: width of the tokens.
        channels: channels of the input.
        width: channels of the first stage; doubled at every stage, up to ``out``.

    Raises:
        UserError: the patch size is not a power of two.
    """

    def __init__(
        self, patch_size: int, grid_size: tuple[int, int], out: int, channels: int = 3, width: int = 24
    ) -> None:
        super().__init__()
        if patch_size & (patch_size - 1) or patch_size < 2:
            raise UserError(
                f"patch size is {patch_size}; expected a power of two for image.stem: convolution; or set it to linear"
            )
        self.patch_size, self.grid_size = (patch_size, patch_size), grid_size
        stages = patch_size.bit_length() - 1
        widths = [channels, *(min(width * 2**stage, out) for stage in range(stages))]
        borders = [ABOVE_LEFT] * (stages - 1) + [BELOW_RIGHT]
        mixes = [stage > 0 for stage in range(stages)]
        self.stages = nn.ModuleList(map(Halving, widths, widths[1:], borders, mixes))
        self.project = nn.Conv2d(widths[-1], out, 1)

    def forward(self, image: Tensor, visible: Tensor | None = None) -> Tensor:
        """(B, C, H, W) to (B, H / p, W / p, D); patches not among the ids ``visible`` (B, K) are ignored."""
        seen = None if visible is None else self._seen(image, visible)
        x = image.contiguous(memory_format=torch.channels_last)
        x = x if seen is None else x * resized(seen, x)
        for stage in self.stages:
            x = stage(x)
            x = x if seen is None else x * resized(seen, x)
        return self.project(x).permute(0, 2, 3, 1)

    def _seen(self, image: Tensor, visible: Tensor) -> Tensor:
        """(B, 1, H / p, W / p): 1 at visible patches."""
        rows, columns = image.shape[-2] // self.patch_size[0], image.shape[-1] // self.patch_size[1]
        flat = image.new_zeros(len(image), rows * columns).scatter(1, visible, 1.0)
        return flat.reshape(-1, 1, rows, columns)


def resized(seen: Tensor, like: Tensor) -> Tensor:
    """A mask of patches at the resolution of ``like``."""
    return F.interpolate(seen, like.shape[-2:], mode="nearest")
