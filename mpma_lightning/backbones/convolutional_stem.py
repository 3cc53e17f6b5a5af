"""A convolutional patch embedding whose visible tokens do not depend on hidden patches."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data_modules.errors import UserError

AROUND, ABOVE_LEFT, BELOW_RIGHT = (1, 1, 1, 1), (1, 0, 1, 0), (0, 1, 0, 1)
"""Zero padding (left, right, top, bottom)."""


class VisibleInstanceNorm(nn.Module):
    """Instance norm with the statistics of visible positions only.

    The statistics are of the whole image, so every token depends on every visible pixel before any attention.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """Normalise (B, C, h, w); ``seen`` (B, 1, h, w) is 1 where visible, else 0; ``None``: all is visible."""
        if seen is None:
            return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
        count = seen.sum((2, 3), keepdim=True)
        mean = (x * seen).sum((2, 3), keepdim=True) / count
        centred = (x - mean) * seen
        scale = (centred.square().sum((2, 3), keepdim=True) / count + self.eps).rsqrt()
        return centred * scale * self.weight[:, None, None] + self.bias[:, None, None]


class PositionNorm(nn.Module):
    """Layer norm over the channels of each position by itself: a token depends on the pixels around it only."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """Normalise (B, C, h, w); ``seen`` changes nothing."""
        last = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)
        return last.permute(0, 3, 1, 2)


class ConvolutionalStem(nn.Module):
    """3×3 convolutions that halve the image until one pixel is one patch; replaces ``patch_embed`` of a timm ViT.

    Early convolutions let a ViT learn from far fewer samples [Xiao et al., NeurIPS 2021]. Hidden patches are set to
    zero before the first convolution and after every one, so that visible tokens do not depend on them [ConvMAE,
    NeurIPS 2022].

    Padded at the top left, a 3×3 convolution of stride 2 is centred half a pixel above and left of the pixels it
    represents, which adds up to half a patch over all stages. The last stage is therefore padded at the bottom right;
    half a pixel of the image remains.

    Args:
        patch_size: side of a patch in pixels; a power of two.
        grid_size: patches of the nominal image, for the resampling of position embeddings.
        out: width of the tokens.
        channels: channels of the input.
        width: channels of the first stage; doubled at every stage, up to ``out``.
        local: normalise each position by itself, not by the statistics of the image. The convolutions then have biases:
            without, a uniform region would look the same at any brightness.

    Raises:
        UserError: the patch size is not a power of two.
    """

    def __init__(
        self,
        patch_size: int,
        grid_size: tuple[int, int],
        out: int,
        channels: int = 3,
        width: int = 24,
        local: bool = False,
    ) -> None:
        super().__init__()
        if patch_size & (patch_size - 1) or patch_size < 2:
            raise UserError(
                f"patch size is {patch_size}; expected a power of two for image.stem: convolution and "
                "local_convolution; or set it to linear"
            )
        self.patch_size, self.grid_size, self.local = (patch_size, patch_size), grid_size, local
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
        self.convolutions.append(nn.Conv2d(channels, out, 3, stride, bias=self.local))
        self.norms.append(PositionNorm(out) if self.local else VisibleInstanceNorm(out))

    def forward(self, image: Tensor, visible: Tensor | None = None) -> Tensor:
        """(B, C, H, W) to (B, H / p, W / p, D); patches not among the ids ``visible`` (B, K) are ignored."""
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
    """A mask of patches at the resolution of ``like``."""
    return F.interpolate(seen, like.shape[-2:], mode="nearest")
