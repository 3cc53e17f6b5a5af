"""Attention to image tokens and a memory, and what each of the two adds."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mpma_lightning.backbones.memories import Gate, Memory, attention_weights, split_heads

MakeMemory = Callable[[], Memory | None]


class MemoryAttention(nn.Module):
    """Queries attend to image tokens and to a memory; without a memory it is plain cross-attention.

    Args:
        query_width: width of the queries' tokens, and of the output.
        image_width: width of the image tokens.
        width: width of queries, keys and values.
        heads: attention heads.
        memory: makes the further keys and values; called last, so that other weights do not depend on its draws.
        dropout: of the attention weights.
    """

    def __init__(
        self, query_width: int, image_width: int, width: int, heads: int, memory: MakeMemory, dropout: float
    ) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(query_width, width)
        self.key = nn.Linear(image_width, width)
        self.value = nn.Linear(image_width, width)
        self.out = nn.Linear(width, query_width)
        for projection in (self.query, self.key, self.value, self.out):  # as in the reference code of Meshed-Memory
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)
        self.memory = memory()

    @property
    def slots(self) -> int:
        """Number of learned slots."""
        return 0 if self.memory is None else self.memory.slots

    def _project(
        self, queries: Tensor, image: Tensor, absent: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Queries, keys and values by head, and the mask (B, 1, 1, N + m) of the keys to attend to, if any are not."""
        keys, values = self.key(image), self.value(image)
        if self.memory is not None:
            more_keys, more_values = self.memory(image, absent)
            keys = torch.cat([keys, more_keys.to(keys.dtype)], dim=1)
            values = torch.cat([values, more_values.to(values.dtype)], dim=1)
        query, keys, values = (split_heads(x, self.heads) for x in (self.query(queries), keys, values))
        mask = (
            None if absent is None else F.pad(~absent, (0, keys.shape[2] - absent.shape[1]), value=True)[:, None, None]
        )
        return query, keys, values, mask

    def forward(self, queries: Tensor, image: Tensor, absent: Tensor | None = None) -> Tensor:
        """Queries (B, T, Dq) and image tokens (B, N, Dv) to (B, T, Dq); ``absent`` (B, N) is true at padding."""
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(*self._project(queries, image, absent), dropout_p=dropout)
        return self.out(attended.transpose(1, 2).flatten(2))

    @torch.no_grad()
    def attention(self, queries: Tensor, image: Tensor, absent: Tensor | None = None) -> Tensor:
        """Attention weights (B, heads, T, N + m); the last m columns are those of the memory."""
        query, keys, _, mask = self._project(queries, image, absent)
        return attention_weights(query, keys, mask)

    @torch.no_grad()
    def added(self, queries: Tensor, image: Tensor, absent: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What the image and what the memory adds to the output, (B, T, Dq) each."""
        query, keys, values, mask = self._project(queries, image, absent)
        weights, tokens = attention_weights(query, keys, mask).to(values.dtype), image.shape[1]
        parts = weights[..., :tokens] @ values[:, :, :tokens], weights[..., tokens:] @ values[:, :, tokens:]
        of_image, of_memory = (F.linear(x.transpose(1, 2).flatten(2), self.out.weight) for x in parts)
        return of_image, of_memory


class RegionLayer(nn.Module):
    """Image regions attend to the regions and a memory, the placement of Meshed-Memory, before text reads them.

    What it adds passes a gate that is zero at the start. With a memory of ``None`` it is the control: the same layer
    without slots.
    """

    def __init__(self, image_width: int, width: int, heads: int, memory: MakeMemory, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(image_width)
        self.attention = MemoryAttention(image_width, image_width, width, heads, memory, dropout)
        self.gate = Gate(image_width)
        self.drop = nn.Dropout(dropout)

    def forward(self, image: Tensor, absent: Tensor | None = None) -> Tensor:
        """Image tokens (B, N, Dv) to (B, N, Dv); ``absent`` (B, N) is true at padding."""
        regions = self.norm(image)
        return image + self.drop(self.gate(self.attention(regions, regions, absent)))

    @torch.no_grad()
    def added(self, image: Tensor, absent: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What the image and what the memory adds to the output, (B, N, Dv) each."""
        regions = self.norm(image)
        of_image, of_memory = map(self.gate, self.attention.added(regions, regions, absent))
        return image + of_image, of_memory

    @torch.no_grad()
    def weights(self, image: Tensor, absent: Tensor | None = None) -> Tensor:
        """Attention weights (B, heads, N, N + m) of the regions."""
        regions = self.norm(image)
        return self.attention.attention(regions, regions, absent)


@dataclass
class MemoryUse:
    """How one layer of fusion uses its m slots, at every text token.

    Where the regions of the image query the slots, a text token's values are those of the regions, weighted by its
    attention to them.

    Attributes:
        of_image: (B, T) norm of what the image adds.
        of_memory: (B, T) norm of what memory adds.
        entropy: (B, T) entropy of the attention to slots, as a share of ln m: 1 when the slots are not told apart.
        words: (B, T, m) attention of the text tokens to the slots, mean over heads; 0 at padding.
        regions: (B, N, m) how much each slot has to do with each image token: the attention of the regions to the slot,
            of the slot to the regions, or, where slots are the same for all images, of the texts that read it.
    """

    of_image: Tensor
    of_memory: Tensor
    entropy: Tensor
    words: Tensor
    regions: Tensor

    def of_patches(self, patches: slice) -> "MemoryUse":
        """Only with those image tokens: the patches of the first view."""
        return replace(self, regions=self.regions[:, patches])


def slot_entropy(weights: Tensor) -> Tensor:
    """Entropy (B, T) of attention (B, heads, T, m) to slots as a share of ln m, mean over heads."""
    share = weights / weights.sum(-1, keepdim=True).clamp(min=1e-12)
    entropy = torch.special.entr(share).sum(-1).mean(1)
    return entropy / math.log(max(2, weights.shape[-1]))
