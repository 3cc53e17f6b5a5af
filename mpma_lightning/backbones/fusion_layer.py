"""One layer of fusion: text self-attention, attention to image and memory, feed-forward."""

from functools import partial

import torch
from torch import Tensor, nn

from mpma_lightning.backbones.memories import DistinctSlots, LatentMemory, Memory, SlotMemory, ZeroKey
from mpma_lightning.backbones.memory_attention import (
    MemoryAttention,
    MemoryUse,
    RegionLayer,
    slot_entropy,
)
from mpma_lightning.backbones.spec import FusionSpec


def memory_of_text(spec: FusionSpec, width: int, image_width: int) -> Memory | None:
    """What text reads beside the image in a layer; ``None`` where it reads the image only."""
    heads, slots = spec.heads or 1, spec.slots or 0
    if spec.memory == "text":
        return SlotMemory(width, width // heads, slots)
    if spec.memory == "latent" and slots:
        return LatentMemory(width, image_width, heads, slots)
    return ZeroKey(width) if spec.memory == "off_by_one" else None


def memory_of_regions(spec: FusionSpec, width: int) -> Memory | None:
    """What the image regions read beside each other under ``memory: image``; ``None`` for the control of 0 slots."""
    return DistinctSlots(width, spec.heads or 1, spec.slots) if spec.slots else None


class FusionLayer(nn.Module):
    """Pre-norm layer. Under ``memory: image`` the image regions first read each other and the memory.

    Args:
        spec: a complete one.
        width: of the text tokens.
        image_width: of the image tokens.
    """

    def __init__(self, spec: FusionSpec, width: int, image_width: int) -> None:
        super().__init__()
        heads, dropout = spec.heads or 1, spec.dropout or 0.0
        self.norm_self, self.norm_cross, self.norm_mlp = (nn.LayerNorm(width) for _ in range(3))
        self.self_attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        memory = partial(memory_of_text, spec, width, image_width)
        self.cross_attention = MemoryAttention(width, image_width, width, heads, memory, dropout)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop = nn.Dropout(dropout)
        self.regions: RegionLayer | None = None
        if spec.memory == "image":
            memory = partial(memory_of_regions, spec, width)
            self.regions = RegionLayer(image_width, width, heads, memory, dropout)

    def forward(
        self, text: Tensor, padding: Tensor, image: Tensor, absent: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The new text and image tokens, and the queries of the cross-attention, for :meth:`memory_use`.

        ``padding`` (B, T) and ``absent`` (B, N) are true where tokens of the text and of the image are none."""
        normed = self.norm_self(text)
        attended, _ = self.self_attention(normed, normed, normed, key_padding_mask=padding, need_weights=False)
        text = text + self.drop(attended)
        if self.regions is not None:
            image = self.regions(image, absent)
        queries = self.norm_cross(text)
        text = text + self.drop(self.cross_attention(queries, image, absent))
        return text + self.drop(self.mlp(self.norm_mlp(text))), image, queries

    @torch.no_grad()
    def memory_use(
        self, queries: Tensor, padding: Tensor, before: Tensor, image: Tensor, absent: Tensor | None = None
    ) -> MemoryUse | None:
        """How the slots are used; ``None`` without slots.

        Args:
            queries: (B, T, D) of the cross-attention.
            padding: (B, T) bool, true at padding.
            before: (B, N, Dv) image tokens that entered the layer.
            image: (B, N, Dv) image tokens that the text reads.
            absent: (B, N) bool, true at padding of the image tokens.
        """
        tokens = image.shape[1]
        weights = self.cross_attention.attention(queries, image, absent).masked_fill(padding[:, None, :, None], 0)
        read, to_slots = weights[..., :tokens].mean(1), weights[..., tokens:]
        if self.regions is not None and self.regions.attention.slots:
            by_region = self.regions.weights(before, absent)[..., tokens:]
            of_image, of_memory = (x.float().norm(dim=-1) for x in self.regions.added(before, absent))
            at_regions = torch.stack([of_image, of_memory, slot_entropy(by_region)], dim=-1)
            image_at_words, memory_at_words, entropy = (read @ at_regions).unbind(-1)
            by_slot = by_region.mean(1)
            return MemoryUse(image_at_words, memory_at_words, entropy, read @ by_slot, by_slot)
        if not self.cross_attention.slots:
            return None
        words = to_slots.mean(1)
        memory = self.cross_attention.memory
        regions = memory.reading(before, absent) if isinstance(memory, LatentMemory) else words.transpose(1, 2) @ read
        of_image, of_memory = (x.float().norm(dim=-1) for x in self.cross_attention.added(queries, image, absent))
        return MemoryUse(of_image, of_memory, slot_entropy(to_slots), words, regions.transpose(1, 2))
