"""Cheaper image decoder: some masked patches attend to the visible ones by cross-attention [CrossMAE]."""

import torch
from timm.layers import build_sincos2d_pos_embed
from torch import Tensor, nn


class CrossBlock(nn.Module):
    """Pre-norm cross-attention and feed-forward; queries do not attend to each other."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """(B, M, D) queries and (B, K, D) context to (B, M, D)."""
        query = query + self.attention(self.norm(query), context, context, need_weights=False)[0]
        return query + self.mlp(self.norm_mlp(query))


class CrossImageDecoder(nn.Module):
    """Mask tokens at the chosen positions, cross-attention blocks over the encoder's last tokens, linear to pixels.

    CrossMAE's learned combination of encoder levels is not implemented.
    """

    def __init__(self, encoder_width: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.width = width
        self.embed = nn.Linear(encoder_width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        nn.init.normal_(self.mask_token, std=0.02)
        self.norm_context = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(CrossBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.out: nn.Module = nn.Identity()

    def set_output(self, values: int) -> None:
        """Build the last layer for ``values`` outputs per patch."""
        self.out = nn.Linear(self.width, values)

    def forward(self, tokens: Tensor, visible: Tensor, grid: tuple[int, int], prefix: Tensor, chosen: Tensor) -> Tensor:
        """Predict the patches ``chosen`` (B, M): (B, M, values). Other arguments as in :class:`ImageDecoder`."""
        positions = build_sincos2d_pos_embed(list(grid), self.width, device=tokens.device).to(tokens.dtype)
        context = torch.cat([self.embed(prefix), self.embed(tokens) + positions[visible]], dim=1)
        context, query = self.norm_context(context), self.mask_token + positions[chosen]
        for block in self.blocks:
            query = block(query, context)
        return self.out(self.norm(query))
