"""Light transformer that predicts masked patches from visible ones [MAE, MRM]."""

import torch
from timm.layers import build_sincos2d_pos_embed
from timm.models.vision_transformer import Block
from torch import Tensor, nn


class ImageDecoder(nn.Module):
    """Linear layer, mask tokens, 2-D sin-cos position embedding, pre-norm blocks, linear to pixels."""

    def __init__(self, encoder_width: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.width = width
        self.embed = nn.Linear(encoder_width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        nn.init.normal_(self.mask_token, std=0.02)
        self.blocks = nn.Sequential(*[Block(width, heads, qkv_bias=True) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.out: nn.Module = nn.Identity()

    def set_output(self, values: int) -> None:
        """Build the last layer for ``values`` outputs per patch."""
        self.out = nn.Linear(self.width, values)

    def forward(self, tokens: Tensor, visible: Tensor, grid: tuple[int, int], prefix: Tensor) -> Tensor:
        """Predict every patch.

        Args:
            tokens: (B, K, D) visible patch tokens.
            visible: (B, K) their ids.
            grid: (H', W').
            prefix: (B, P, D) further tokens that the decoder attends to: class and register tokens.

        Returns:
            (B, H'·W', values).
        """
        length, batch = grid[0] * grid[1], len(tokens)
        embedded = self.embed(tokens)
        full = self.mask_token.to(embedded.dtype).expand(batch, length, -1)
        full = full.scatter(1, visible.unsqueeze(-1).expand_as(embedded), embedded)
        positions = build_sincos2d_pos_embed(list(grid), self.width, device=tokens.device)
        full = full + positions.to(full.dtype)
        decoded = self.norm(self.blocks(torch.cat([self.embed(prefix), full], dim=1)))
        return self.out(decoded[:, prefix.shape[1] :])
