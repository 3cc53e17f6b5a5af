"""What an attention of fusion reads beside the image: learned slots, slots that hold the image, or one zero key."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Memory(nn.Module):
    """Further keys and values of an attention. ``slots`` is the number of those that are learned."""

    slots: int

    def forward(self, image: Tensor, absent: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Keys and values (B, m, D) beside those of the image tokens (B, N, Dv), of which those ``absent`` (B, N) are
        padding."""
        raise NotImplementedError


class SlotMemory(Memory):
    """Learned keys and values, the same for every image [Meshed-Memory].

    As in the reference code, initial standard deviations are 1/d_h and 1/m for a head width d_h and m slots, and
    the forward pass scales keys by sqrt(d_h) and values by sqrt(m).
    """

    def __init__(self, width: int, head_width: int, slots: int) -> None:
        super().__init__()
        self.slots = slots
        self.key_scale, self.value_scale = math.sqrt(head_width), math.sqrt(slots)
        self.memory_keys = nn.Parameter(torch.randn(slots, width) / head_width)
        self.memory_values = nn.Parameter(torch.randn(slots, width) / slots)

    def forward(self, image: Tensor, absent: Tensor | None = None) -> tuple[Tensor, Tensor]:
        keys, values = self.key_scale * self.memory_keys, self.value_scale * self.memory_values
        return keys.expand(len(image), -1, -1), values.expand(len(image), -1, -1)


class DistinctSlots(Memory):
    """Learned keys and values whose keys are orthogonal at the start and of one length throughout.

    A key is as long in each head as an average key of the image, sqrt(d_h). The keys of :class:`SlotMemory` are 1 long:
    their logits differ so little that attention cannot choose between slots.
    """

    def __init__(self, width: int, heads: int, slots: int) -> None:
        super().__init__()
        self.slots, self.heads, self.value_scale = slots, heads, math.sqrt(width)
        self.memory_keys = nn.Parameter(orthogonal(slots, width))
        self.memory_values = nn.Parameter(torch.randn(slots, width) / math.sqrt(width))

    def forward(self, image: Tensor, absent: Tensor | None = None) -> tuple[Tensor, Tensor]:
        keys, values = of_one_length(self.memory_keys, self.heads), self.value_scale * self.memory_values
        return keys.expand(len(image), -1, -1), values.expand(len(image), -1, -1)


class LatentMemory(Memory):
    """Slots that first read the image by cross-attention, so that what they hold is of this patient.

    A slot's key is its query and a projection, zero at the start, of what it read; its value depends only on what it
    read, and passes a gate that is zero at the start.
    """

    def __init__(self, width: int, image_width: int, heads: int, slots: int) -> None:
        super().__init__()
        self.slots, self.heads = slots, heads
        self.memory_queries = nn.Parameter(orthogonal(slots, width))
        self.key, self.value = nn.Linear(image_width, width), nn.Linear(image_width, width)
        self.norm = nn.LayerNorm(width)
        self.slot_key, self.slot_value = nn.Linear(width, width), nn.Linear(width, width)
        for projection in (self.key, self.value, self.slot_key, self.slot_value):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)
        nn.init.zeros_(self.slot_key.weight)  # equal summands would make the keys alike
        self.gate = Gate(width)

    def forward(self, image: Tensor, absent: Tensor | None = None) -> tuple[Tensor, Tensor]:
        queries = of_one_length(self.memory_queries, self.heads)
        read = F.scaled_dot_product_attention(
            split_heads(queries.to(image.dtype).expand(len(image), -1, -1), self.heads),
            split_heads(self.key(image), self.heads),
            split_heads(self.value(image), self.heads),
            _seen(absent),
        )
        held = self.norm(read.transpose(1, 2).flatten(2))
        return of_one_length(queries + self.slot_key(held), self.heads), self.gate(self.slot_value(held))

    @torch.no_grad()
    def reading(self, image: Tensor, absent: Tensor | None = None) -> Tensor:
        """Attention (B, m, N) of the slots to the image tokens, mean over heads."""
        queries = split_heads(of_one_length(self.memory_queries, self.heads).expand(len(image), -1, -1), self.heads)
        return attention_weights(queries, split_heads(self.key(image), self.heads), _seen(absent)).mean(1)


class ZeroKey(Memory):
    """One key of zeros with a value of zeros: softmax with 1 added to its denominator, so that attention may read
    nothing. A control without parameters."""

    slots = 0

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, image: Tensor, absent: Tensor | None = None) -> tuple[Tensor, Tensor]:
        zero = image.new_zeros(len(image), 1, self.width)
        return zero, zero


class Gate(nn.Module):
    """A factor for each channel, zero at the start; scaled by sqrt(D), it opens as fast as a D x D matrix would."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = math.sqrt(width)
        self.gate = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.gate * x


def orthogonal(slots: int, width: int) -> Tensor:
    """(slots, width): orthonormal rows, or columns where there are more slots than channels."""
    return nn.init.orthogonal_(torch.empty(slots, width))


def of_one_length(x: Tensor, heads: int) -> Tensor:
    """(…, D) with a length of sqrt(d_h) in each head."""
    split = x.unflatten(-1, (heads, -1))
    return (F.normalize(split, dim=-1) * math.sqrt(split.shape[-1])).flatten(-2)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, N, D) to (B, heads, N, d_h)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def attention_weights(queries: Tensor, keys: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax of scaled products (B, heads, T, N) of (B, heads, T, d_h) and (B, heads, N, d_h).

    ``mask`` (B, 1, 1, N) is true where a key may be attended to.
    """
    scores = (queries @ keys.transpose(-1, -2) / math.sqrt(queries.shape[-1])).float()
    return (scores if mask is None else scores.masked_fill(~mask, -math.inf)).softmax(-1)


def _seen(absent: Tensor | None) -> Tensor | None:
    """(B, 1, 1, N) mask of an attention to image tokens, from where they are padding."""
    return None if absent is None else ~absent[:, None, None]
