"""A convolutional patch embedding that cannot see hidden patches."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data_modules.errors import UserError

AROUND, ABOVE_LEFT, BELOW_RIGHT = (1, 1, 1, 1), (1, 0, 1, 0), (0, 1, 0, 1)
"""Zeros on the left, on the right, above and below."""


class VisibleInstanceNorm(nn.Module):
    """Instance norm whose statistics come from visible positions only.

    Layer and group norm over channels leave what all radiographs share in place, and a small model then learns far more
    slowly; batch norm removes it too but ties the samples of a batch together.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """(B, C, h, w) with ``seen`` (B, 1, h, w) of 0 and 1, or ``None`` when everything is visible."""
        if seen is None:
            return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
        count = seen.sum((2, 3), keepdim=True)
        mean = (x * seen).sum((2, 3), keepdim=True) / count
        centred = (x - mean) * seen
        scale = (centred.square().sum((2, 3), keepdim=True) / count + self.eps).rsqrt()
        return centred * scale * self.weight[:, None, None] + self.bias[:, None, None]


class ConvolutionalStem(nn.Module):
    """3×3 convolutions, halving the image until a pixel is a patch: stands where a timm ViT has ``patch_embed``.

    Early convolutions make a ViT learn from far fewer samples [Xiao et al., NeurIPS 2021]. Hidden patches are set to
    zero before the first convolution and again after every one, so nothing of them reaches a visible token
    [ConvMAE, NeurIPS 2022].

    A 3×3 convolution of stride 2 with its border above and on the left looks half a pixel up and left of the four
    pixels it stands for. Over all stages that is half a patch; so the last stage has its border below and on the right,
    which leaves half a pixel of the image.

    Args:
        patch_size: pixels a side; a power of two.
        grid_size: patches of the nominal image, for the resampling of positions.
        out: token width.
        channels: of the input.
        width: channels of the first stage, doubled at every stage up to ``out``.
    """

    def __init__(
        self, patch_size: int, grid_size: tuple[int, int], out: int, channels: int = 3, width: int = 24
    ) -> None:
        super().__init__()
        if patch_size & (patch_size - 1) or patch_size < 2:
            raise UserError(
                f"patch size is {patch_size}; image.stem: convolution needs a power of two, or set it to linear"
            )
        self.patch_size, self.grid_size = (patch_size, patch_size), grid_size
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        self.borders: list[tuple[int, int, int, int]] = []
        last = patch_size.bit_length() - 2
        for stage in range(last + 1):
            self._append(channels, width, 2, BELOW_RIGHT if stage == last else ABOVE_LEFT)
            if stage:
                self._append(width, width, 1, AROUND)
            channels, width = width, min(2 * width, out)
        self.project = nn.Conv2d(channels, out, 1)

    def _append(self, channels: int, out: int, stride: int, border: tuple[int, int, int, int]) -> None:
        self.borders.append(border)
        self.convolutions.append(nn.Conv2d(channels, out, 3, stride, bias=False))
        self.norms.append(VisibleInstanceNorm(out))

    def forward(self, image: Tensor, visible: Tensor | None = None) -> Tensor:
        """(B, C, H, W) to (B, H / p, W / p, D); with ids ``visible`` (B, K), other patches are not read."""
        seen = None if visible is None else self._seen(image, visible)
        x = image if seen is None else image * resized(seen, image)
        for border, convolution, norm in zip(self.borders, self.convolutions, self.norms, strict=True):
            x = convolution(F.pad(x, border))
            here = None if seen is None else resized(seen, x)
            x = F.relu(norm(x, here))
            x = x if here is None else x * here
        return self.project(x).permute(0, 2, 3, 1)

    def _seen(self, image: Tensor, visible: Tensor) -> Tensor:
        """(B, 1, H / p, W / p): 1 at visible patches."""
        rows, columns = image.shape[-2] // self.patch_size[0], image.shape[-1] // self.patch_size[1]
        flat = image.new_zeros(len(image), rows * columns).scatter(1, visible, 1.0)
        return flat.reshape(-1, 1, rows, columns)


def resized(seen: Tensor, like: Tensor) -> Tensor:
    """A patch mask at the resolution of ``like``."""
    return F.interpolate(seen, like.shape[-2:], mode="nearest")
