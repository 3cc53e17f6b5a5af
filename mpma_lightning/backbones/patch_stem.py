"""A convolutional patch embedding that never looks across a patch's border, so masked patches stay hidden."""

import torch.nn.functional as F
from torch import Tensor, nn


class SampleNorm(nn.GroupNorm):
    """Layer norm over all patches, channels and pixels of a sample; what is bright stays brighter than the rest.

    Normalising each patch by itself would erase its mean intensity; batch norm would tie samples together.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(1, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, C, h, w), normalised."""
        batch, length, channels, height, width = x.shape
        flat = x.transpose(1, 2).reshape(batch, channels, length * height * width)
        normed = F.group_norm(flat, 1, self.weight, self.bias, self.eps)
        return normed.reshape(batch, channels, length, height, width).transpose(1, 2)


class PatchStem(nn.Module):
    """Strided 3×3 convolutions inside each patch, then a projection: stands where a timm ViT has ``patch_embed``.

    Early convolutions make a ViT learn from far fewer samples [Xiao et al., NeurIPS 2021]; applied patch by patch
    they work with token dropping.

    Args:
        patch_size: pixels a side.
        grid_size: patches of the nominal image, for the resampling of positions.
        out: token width.
        channels: of the input.
        width: channels of the first convolution, doubled at every stage.
    """

    strict_img_size = False
    flatten = False

    def __init__(
        self, patch_size: int, grid_size: tuple[int, int], out: int, channels: int = 3, width: int = 32
    ) -> None:
        super().__init__()
        self.patch_size, self.grid_size = (patch_size, patch_size), grid_size
        self.visible: Tensor | None = None
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        side, inside = patch_size, channels
        while side > 2 and side % 2 == 0:
            convolution = nn.Conv2d(inside, width, 3, 2, 1)
            nn.init.kaiming_normal_(convolution.weight)
            self.convolutions.append(convolution)
            self.norms.append(SampleNorm(width))
            side, inside, width = side // 2, width, 2 * width
        self.project = nn.Conv2d(inside, out, side)
        nn.init.xavier_uniform_(self.project.weight.flatten(1))

    def dynamic_feat_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The grid of an image of ``size``; timm asks for it."""
        return size[0] // self.patch_size[0], size[1] // self.patch_size[1]

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to (B, H / p, W / p, D); with ``visible`` (B, K) set, other patches are not read and stay 0."""
        batch, channels, height, width = image.shape
        side = self.patch_size[0]
        rows, columns = height // side, width // side
        x = image.reshape(batch, channels, rows, side, columns, side).permute(0, 2, 4, 1, 3, 5)
        x = x.reshape(batch, rows * columns, channels, side, side)
        if self.visible is not None:
            x = x.gather(1, self.visible[:, :, None, None, None].expand(-1, -1, channels, side, side))
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.gelu(norm(convolution(x.flatten(0, 1)).unflatten(0, (batch, -1))))
        tokens = self.project(x.flatten(0, 1)).reshape(batch, x.shape[1], -1)
        if self.visible is not None:
            everywhere = tokens.new_zeros(batch, rows * columns, tokens.shape[-1])
            tokens = everywhere.scatter(1, self.visible.unsqueeze(-1).expand_as(tokens), tokens)
        return tokens.reshape(batch, rows, columns, -1)
