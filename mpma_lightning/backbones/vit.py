"""A timm Vision Transformer of any grid that encodes visible patches only."""

from typing import Any

import torch
from timm.layers import build_sincos2d_pos_embed
from torch import Tensor, nn

from data_modules.errors import expect
from mpma_lightning.backbones.convolutional_stem import ConvolutionalStem
from mpma_lightning.backbones.encoder import Levels
from mpma_lightning.backbones.features import Features


class ViTEncoder(nn.Module):
    """Runs timm's own steps in timm's order; hidden patches leave before the first block, so 75 % masking makes the
    encoder about four times cheaper [MAE]. An :class:`ImageEncoder`.

    Args:
        vit: a plain ViT of timm, made with ``dynamic_img_size``.
        pool: ``mean`` of the patch tokens, or ``cls``.
    """

    can_drop_patches = True

    def __init__(self, vit: Any, pool: str) -> None:
        super().__init__()
        self.vit = vit
        self.pool = pool
        self.width: int = vit.num_features
        self.patch_size: int = vit.patch_embed.patch_size[0]

    @property
    def levels(self) -> Levels:
        """The output of every block."""
        depth = len(self.vit.blocks)
        return Levels(tuple(range(depth)), (self.width,) * depth, (self.patch_size,) * depth)

    @property
    def depths(self) -> dict[str, int]:
        """Patch embedding, positions and tokens; every block; the last norm."""
        depth = len(self.vit.blocks)
        last = {"vit.norm": 0} if any(True for _ in self.vit.norm.parameters()) else {}
        return {"vit.": depth + 1, **last, **{f"vit.blocks.{i}.": depth - i for i in range(depth)}}

    def forward(self, image: Tensor, visible: Tensor | None = None, levels: tuple[int, ...] = ()) -> Features:
        """Encode.

        Args:
            image: (B, 3, H, W), normalised; H and W multiples of the patch size.
            visible: (B, K) ids of the patches to encode, ``None`` for all.
            levels: blocks whose maps are wanted, which may repeat; they pass the final norm as the tokens do. Needs the
                whole image.
        """
        height, width = image.shape[-2:]
        whole = height % self.patch_size == width % self.patch_size == 0
        expect(whole, "the image side that reaches the encoder", width, f"a multiple of its patch, {self.patch_size}; "
               "correct data.image_size")  # fmt: skip
        if levels and visible is not None:
            raise ValueError("levels need the whole image: call without visible")
        grid, first = (height // self.patch_size, width // self.patch_size), self.vit.num_prefix_tokens
        tokens, maps = self._embedded(image, visible), {}
        for number, block in enumerate(self.vit.blocks):
            tokens = block(tokens)
            if number in levels:
                maps[number] = self.vit.norm(tokens)[:, first:].unflatten(1, grid).permute(0, 3, 1, 2).contiguous()
        tokens = self.vit.norm(tokens)
        prefix, patches = tokens[:, :first], tokens[:, first:]
        pooled = prefix[:, 0] if self.pool == "cls" else patches.mean(1)
        return Features(pooled, patches, prefix, grid, visible, [maps[level] for level in levels])

    def _embedded(self, image: Tensor, visible: Tensor | None) -> Tensor:
        """(B, P + K, D) what enters the first block: prefix tokens and visible patches, with their positions."""
        stem = self.vit.patch_embed
        patches = stem(image, visible) if isinstance(stem, ConvolutionalStem) else stem(image)
        tokens = self.vit._pos_embed(patches)
        if visible is not None:
            first = self.vit.num_prefix_tokens
            index = visible.unsqueeze(-1).expand(-1, -1, tokens.shape[-1])
            tokens = torch.cat([tokens[:, :first], tokens[:, first:].gather(1, index)], dim=1)
        return self.vit.norm_pre(tokens)


@torch.no_grad()
def start_like_mae(vit: Any) -> None:
    """MAE's random init: 2-D sin-cos positions (trained on from there) and Xavier-uniform projections.

    timm's own starts positions and weights at a standard deviation of 0.02, which suits a width of 768 only: at 128
    the blocks begin so close to the identity, and positions so faint, that a short run hardly moves.
    """
    positions = build_sincos2d_pos_embed(list(vit.patch_embed.grid_size), vit.num_features)
    vit.pos_embed[:, : vit.num_prefix_tokens] = 0
    vit.pos_embed[:, vit.pos_embed.shape[1] - len(positions) :] = positions
    nn.init.xavier_uniform_(vit.patch_embed.proj.weight.flatten(1))
    for module in vit.blocks.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
