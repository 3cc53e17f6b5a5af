"""A timm Vision Transformer that accepts any grid and encodes visible patches only."""

from dataclasses import replace
from typing import Any

import torch
from timm.layers import build_sincos2d_pos_embed
from torch import Tensor, nn

from data_modules.errors import expect
from mpma_lightning.backbones.convolutional_stem import ConvolutionalStem
from mpma_lightning.backbones.encoder import Levels, grid_of
from mpma_lightning.backbones.features import Features


class ViTEncoder(nn.Module):
    """Computes what timm's ViT computes, without the hidden patches: they are dropped before the first block, so that
    masking 75 % makes the encoder about four times cheaper [MAE]. An :class:`ImageEncoder`.

    Args:
        vit: a plain ViT of timm, created with ``dynamic_img_size``.
        pool: ``mean`` of the patch tokens; ``cls``, the class token; ``mean_before_norm``, the mean before the last
            norm, which is then not trained: a head brings its own; or ``map``, timm's attention pooling.
    """

    can_drop_patches = True
    honours: tuple[str, ...] = ("options", "weights", "stem", "pool")
    has_maps = True
    pools: tuple[str, ...] = ("mean", "cls", "mean_before_norm", "map")

    def __init__(self, vit: Any, pool: str) -> None:
        super().__init__()
        has = {"cls": vit.cls_token is not None, "map": getattr(vit, "attn_pool", None) is not None}
        known = [name for name in self.pools if has.get(name, True)]
        expect(pool in known, "model.backbone.image.pool", pool, f"{' or '.join(known)} for this encoder")
        if pool != "map":
            vit.attn_pool = None  # ``pool`` replaces it
        self.vit = vit
        self.pool = pool
        self.width: int = vit.num_features
        self.patch_size: int = vit.patch_embed.patch_size[0]
        if pool == "mean_before_norm":
            vit.norm.requires_grad_(False)

    @property
    def levels(self) -> Levels:
        """The output of every block."""
        depth = len(self.vit.blocks)
        return Levels(tuple(range(depth)), (self.width,) * depth, (self.patch_size,) * depth)

    @property
    def local_levels(self) -> Levels:
        """The tokens before attention and the output of every block."""
        count = len(self.vit.blocks) + 1
        return Levels(tuple(range(count)), (self.width,) * count, (self.patch_size,) * count)

    @property
    def depths(self) -> dict[str, int]:
        """Of the embeddings, of every block, and of the last norm where it has parameters."""
        depth = len(self.vit.blocks)
        norm = {"vit.norm": 0} if any(weight.requires_grad for weight in self.vit.norm.parameters()) else {}
        return {"vit.": depth + 1, **norm, **{f"vit.blocks.{i}.": depth - i for i in range(depth)}}

    def forward(
        self,
        image: Tensor,
        visible: Tensor | None = None,
        levels: tuple[int, ...] = (),
        local: int | None = None,
    ) -> Features:
        """Encode.

        Args:
            image: (B, 3, H, W), normalised; H and W multiples of the patch size.
            visible: (B, K) ids of the patches to encode, ``None`` for all.
            levels: blocks whose maps to return, after the final norm; blocks may repeat. Not with ``visible``.
            local: number of blocks after which to take the local tokens, after the final norm.

        Raises:
            UserError: the image is not a multiple of the patch size.
        """
        grid = grid_of(image, self.patch_size)
        if levels and visible is not None:
            raise ValueError("levels need the whole image: call without visible")
        first = self.vit.num_prefix_tokens
        tokens, maps = self._embedded(image, visible), {}
        early = tokens
        for number, block in enumerate(self.vit.blocks):
            tokens = block(tokens)
            early = tokens if local == number + 1 else early
            if number in levels:
                maps[number] = self.vit.norm(tokens)[:, first:].unflatten(1, grid).permute(0, 3, 1, 2).contiguous()
        before, tokens = tokens, self.vit.norm(tokens)
        prefix, patches = tokens[:, :first], tokens[:, first:]
        averaged = before[:, first:] if self.pool == "mean_before_norm" else patches
        if self.pool == "map":
            pooled = self.vit.attn_pool(tokens)
        else:
            pooled = prefix[:, 0] if self.pool == "cls" else averaged.mean(1)
        found = Features(pooled, patches, prefix, grid, visible, [maps[level] for level in levels])
        return found if local is None else replace(found, local=self.vit.norm(early)[:, first:], local_grid=grid)

    def _embedded(self, image: Tensor, visible: Tensor | None) -> Tensor:
        """(B, P + K, D) input of the first block: prefix tokens and visible patches, with position embeddings."""
        stem = self.vit.patch_embed
        patches = stem(image, visible) if isinstance(stem, ConvolutionalStem) else stem(image)
        tokens = self.vit._pos_embed(patches)
        if visible is not None:
            first = self.vit.num_prefix_tokens
            index = visible.unsqueeze(-1).expand(-1, -1, tokens.shape[-1])
            tokens = torch.cat([tokens[:, :first], tokens[:, first:].gather(1, index)], dim=1)
        return self.vit.norm_pre(tokens)


@torch.no_grad()
def init_like_mae(vit: Any) -> None:
    """MAE's initialisation: 2-D sin-cos position embeddings, trained further, and Xavier-uniform projections.

    timm draws both with a standard deviation of 0.02. At a width of 128 the blocks are then so close to the identity,
    and the positions so weak, that a short run learns hardly anything.
    """
    positions = build_sincos2d_pos_embed(list(vit.patch_embed.grid_size), vit.num_features)
    vit.pos_embed[:, : vit.num_prefix_tokens] = 0
    vit.pos_embed[:, vit.pos_embed.shape[1] - len(positions) :] = positions
    nn.init.xavier_uniform_(vit.patch_embed.proj.weight.flatten(1))
    for module in vit.blocks.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
