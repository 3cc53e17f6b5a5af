"""Memory-Augmented Cross-Modal Fusion (MA-CMF): text attends to the image and to a learned memory.

The paper only names the module. Its structure here follows Meshed-Memory (CVPR 2020); the rest is our choice.
"""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data_modules.errors import expect
from mpma_lightning.backbones.features import Features
from mpma_lightning.backbones.registry import REGISTRY
from mpma_lightning.backbones.shared_memory import SharedMemory
from mpma_lightning.backbones.spec import FusionSpec
from mpma_lightning.backbones.text import TextEncoder


class SlotMemory(nn.Module):
    """Learned keys and values, appended to those of the image [Meshed-Memory]; each layer has its own.

    As in the reference code, initial standard deviations are 1/d_h and 1/m for a head width d_h and m slots, and
    the forward pass scales keys by sqrt(d_h) and values by sqrt(m).
    """

    def __init__(self, width: int, head_width: int, slots: int) -> None:
        super().__init__()
        self.key_scale, self.value_scale = math.sqrt(head_width), math.sqrt(slots)
        self.memory_keys = nn.Parameter(torch.randn(slots, width) / head_width)
        self.memory_values = nn.Parameter(torch.randn(slots, width) / slots)

    def forward(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append m slots to (B, N, D) keys and values."""
        batch = keys.shape[0]
        slot_keys = (self.key_scale * self.memory_keys).to(keys.dtype).expand(batch, -1, -1)
        slot_values = (self.value_scale * self.memory_values).to(values.dtype).expand(batch, -1, -1)
        return torch.cat([keys, slot_keys], dim=1), torch.cat([values, slot_values], dim=1)


class MemoryCrossAttention(nn.Module):
    """Text attends to image tokens and memory slots; ``slots`` of ``None`` is plain cross-attention."""

    def __init__(self, width: int, image_width: int, heads: int, slots: int | None, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(image_width, width)
        self.value = nn.Linear(image_width, width)
        self.out = nn.Linear(width, width)
        for projection in (self.query, self.key, self.value, self.out):  # as in the reference code of Meshed-Memory
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)
        self.memory = None if slots is None else SlotMemory(width, width // heads, slots)

    def _keys_and_values(self, image: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self.key(image), self.value(image)
        return (keys, values) if self.memory is None else self.memory(keys, values)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, text: Tensor, image: Tensor) -> Tensor:
        """Text tokens (B, T, D) and image tokens (B, N, Dv) to (B, T, D)."""
        keys, values = self._keys_and_values(image)
        query, keys, values = self._split(self.query(text)), self._split(keys), self._split(values)
        attended = F.scaled_dot_product_attention(query, keys, values, dropout_p=self.dropout if self.training else 0.0)
        return self.out(attended.transpose(1, 2).flatten(2))

    @torch.no_grad()
    def attention(self, text: Tensor, image: Tensor) -> Tensor:
        """Attention weights (B, heads, T, N + m); the last m columns are those of the memory."""
        keys, _ = self._keys_and_values(image)
        query, keys = self._split(self.query(text)), self._split(keys)
        return (query @ keys.transpose(-1, -2) / math.sqrt(query.shape[-1])).float().softmax(-1)


class FusionLayer(nn.Module):
    """Pre-norm layer: text self-attention, memory-augmented cross-attention, feed-forward."""

    def __init__(self, width: int, image_width: int, heads: int, slots: int | None, dropout: float) -> None:
        super().__init__()
        self.norm_self, self.norm_cross, self.norm_mlp = (nn.LayerNorm(width) for _ in range(3))
        self.self_attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.cross_attention = MemoryCrossAttention(width, image_width, heads, slots, dropout)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop = nn.Dropout(dropout)

    def forward(self, text: Tensor, padding: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """The new text tokens, and the input of the cross-attention, from which attention maps are computed."""
        normed = self.norm_self(text)
        attended, _ = self.self_attention(normed, normed, normed, key_padding_mask=padding, need_weights=False)
        text = text + self.drop(attended)
        queries = self.norm_cross(text)
        text = text + self.drop(self.cross_attention(queries, image))
        return text + self.drop(self.mlp(self.norm_mlp(text))), queries


class Fusion(nn.Module):
    """The interface of every kind of fusion."""

    reads_text_features: ClassVar[bool]
    """Whether :meth:`fuse` needs the output of the text encoder; otherwise it runs the encoder itself."""

    def fuse(
        self, encoder: TextEncoder, image: Features, text: Features | None, input_ids: Tensor, attention_mask: Tensor
    ) -> Tensor:
        """Fused text tokens H (B, T, D).

        Args:
            encoder: the backbone's text encoder.
            image: output of the image encoder.
            text: output of the text encoder; ``None`` where ``reads_text_features`` is false.
            input_ids: (B, T) ids of the text.
            attention_mask: (B, T), 0 at padding.
        """
        raise NotImplementedError

    def attention(self, image: Features, text: Features, attention_mask: Tensor) -> Tensor | None:
        """Attention (B, T, N) of text tokens to patches in the last layer, mean over heads; ``None`` if it has none."""
        return None

    def memory_share(self, image: Features, text: Features, attention_mask: Tensor) -> Tensor | None:
        """Share (B, T) of the attention in the last layer that goes to memory slots; ``None`` without slots."""
        return None


@REGISTRY.register("fusion", "cross")
class CrossFusion(Fusion):
    """MA-CMF: layers in which text attends to image and memory; a ``shared`` memory is read before the layers."""

    reads_text_features = True

    def __init__(self, spec: FusionSpec, width: int, image_width: int) -> None:
        super().__init__()
        heads, dropout = spec.heads or 0, spec.dropout or 0.0
        expect(
            heads >= 1 and width % heads == 0, "model.backbone.fusion.heads", heads, f"a divisor of the width, {width}"
        )
        is_shared = spec.memory == "shared"
        self.shared = SharedMemory(width, image_width, spec.shared_slots, spec.shared_width) if is_shared else None
        self.has_slots = spec.memory == "slots"
        slots = spec.slots if self.has_slots else None
        self.layers = nn.ModuleList(
            FusionLayer(width, image_width, heads, slots, dropout) for _ in range(spec.depth or 0)
        )
        self.norm = nn.LayerNorm(width)

    def fuse(
        self, encoder: TextEncoder, image: Features, text: Features | None, input_ids: Tensor, attention_mask: Tensor
    ) -> Tensor:
        assert text is not None
        return self(image, text, attention_mask)

    def forward(self, image: Features, text: Features, attention_mask: Tensor) -> Tensor:
        """Fused text tokens H (B, T, D)."""
        keys, fused = self._inputs(image, text)
        padding = attention_mask == 0
        for layer in self.layers:
            fused, _queries = layer(fused, padding, keys)
        return self.norm(fused)

    def _inputs(self, image: Features, text: Features) -> tuple[Tensor, Tensor]:
        keys = torch.cat([image.prefix, image.tokens], dim=1)
        return (keys, text.tokens) if self.shared is None else self.shared(keys, text.tokens)

    def attention(self, image: Features, text: Features, attention_mask: Tensor) -> Tensor:
        first = image.prefix.shape[1]
        return self._last_attention(image, text, attention_mask)[..., first : first + image.tokens.shape[1]]

    def memory_share(self, image: Features, text: Features, attention_mask: Tensor) -> Tensor | None:
        if not self.has_slots:
            return None
        first_slot = image.prefix.shape[1] + image.tokens.shape[1]
        return self._last_attention(image, text, attention_mask)[..., first_slot:].sum(-1)

    @torch.no_grad()
    def _last_attention(self, image: Features, text: Features, attention_mask: Tensor) -> Tensor:
        """Attention (B, T, P + N + m) to prefix tokens, patches and memory slots, mean over heads."""
        keys, fused = self._inputs(image, text)
        padding = attention_mask == 0
        for layer in self.layers:
            fused, queries = layer(fused, padding, keys)
        assert isinstance(layer, FusionLayer)
        return layer.cross_attention.attention(queries, keys).mean(1)


@REGISTRY.register("fusion", "pooled")
class PooledFusion(Fusion):
    """MRM: the projected mean of the patch tokens is added to every word embedding of the text encoder."""

    reads_text_features = False

    def __init__(self, spec: FusionSpec, width: int, image_width: int) -> None:
        super().__init__()
        self.project = nn.Linear(image_width, width)

    def fuse(
        self, encoder: TextEncoder, image: Features, text: Features | None, input_ids: Tensor, attention_mask: Tensor
    ) -> Tensor:
        return encoder(input_ids, attention_mask, bias=self(image)).tokens

    def forward(self, image: Features) -> Tensor:
        """The vector (B, D) that is added to the word embeddings."""
        return self.project(image.tokens.mean(1))
