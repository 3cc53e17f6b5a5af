"""M3AE's fusion: text and image each attend to themselves and to the other, layer by layer."""

import torch
from torch import Tensor, nn

from data_modules.errors import expect
from mpma_lightning.backbones.features import Features
from mpma_lightning.backbones.fusion import Fusion
from mpma_lightning.backbones.registry import REGISTRY
from mpma_lightning.backbones.spec import FusionSpec
from mpma_lightning.backbones.text import TextEncoder

EPS = 1e-12


class CoAttentionLayer(nn.Module):
    """Post-norm: self-attention, attention to the other modality, feed-forward, as in a decoder layer of BERT."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.own = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.other = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.forward1, self.forward2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=EPS) for _ in range(3))
        self.drop, self.activation = nn.Dropout(dropout), nn.GELU()

    def forward(
        self, x: Tensor, other: Tensor, padding: Tensor | None, other_padding: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """(B, T, D) tokens, and their attention (B, T, N) to ``other``; ``padding`` is true at padding."""
        x = self.norms[0](x + self.drop(self.own(x, x, x, padding, need_weights=False)[0]))
        read, weights = self.other(x, other, other, other_padding)
        x = self.norms[1](x + self.drop(read))
        return self.norms[2](x + self.drop(self.forward2(self.activation(self.forward1(x))))), weights


@REGISTRY.register("fusion", "co_attention")
class CoAttentionFusion(Fusion):
    """M3AE: text and image attend to each other in layers of their own; H is the text's last output.

    The image has one layer less: what its last one makes, no text token reads.
    """

    reads_text_features = True

    def __init__(self, spec: FusionSpec, width: int, image_width: int) -> None:
        super().__init__()
        heads, depth, dropout = spec.heads or 0, spec.depth or 0, spec.dropout or 0.0
        fits = heads >= 1 and width % heads == 0
        expect(fits, "model.backbone.fusion.heads", heads, f"a divisor of the width, {width}")
        expect(depth >= 1, "model.backbone.fusion.depth", depth, "1 or more")
        self.project_text, self.project_image = nn.Linear(width, width), nn.Linear(image_width, width)
        self.kinds = nn.Parameter(0.02 * torch.randn(2, width))
        sizes = (width, heads, 4 * width, dropout)
        self.text_layers = nn.ModuleList(CoAttentionLayer(*sizes) for _ in range(depth))
        self.image_layers = nn.ModuleList(CoAttentionLayer(*sizes) for _ in range(depth - 1))

    def fuse(
        self, encoder: TextEncoder, image: Features, text: Features | None, input_ids: Tensor, attention_mask: Tensor
    ) -> Tensor:
        assert text is not None
        return self(image, text, attention_mask)[0]

    def forward(self, image: Features, text: Features, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """H (B, T, D), and the last layer's attention (B, T, P + N) to the image."""
        padding = attention_mask == 0
        x = self.project_text(text.tokens) + self.kinds[0]
        keys, absent = self.image_tokens(image)
        y = self.project_image(keys) + self.kinds[1]
        for place, layer in enumerate(self.text_layers):
            before = x
            x, weights = layer(x, y, padding, absent)
            if place < len(self.image_layers):
                y, _ = self.image_layers[place](y, before, absent, padding)
        return x, weights

    @torch.no_grad()
    def attention(self, image: Features, text: Features, attention_mask: Tensor) -> Tensor:
        first = image.prefix.shape[1]
        return self(image, text, attention_mask)[1][..., first : first + image.tokens.shape[1]]
