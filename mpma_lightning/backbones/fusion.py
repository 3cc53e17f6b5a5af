"""Memory-Augmented Cross-Modal Fusion (MA-CMF): text attends to the image and to a learned memory.

The paper only names the module. Its structure here follows Meshed-Memory (CVPR 2020); the rest is our choice.
"""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from data_modules.errors import expect
from mpma_lightning.backbones.features import Features
from mpma_lightning.backbones.fusion_layer import FusionLayer
from mpma_lightning.backbones.memory_attention import MemoryUse
from mpma_lightning.backbones.registry import REGISTRY
from mpma_lightning.backbones.shared_memory import SharedMemory
from mpma_lightning.backbones.spec import FusionSpec
from mpma_lightning.backbones.text import TextEncoder


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

    def memory_use(self, image: Features, text: Features, attention_mask: Tensor) -> list[MemoryUse]:
        """How each layer uses its memory slots; empty without slots."""
        return []


@REGISTRY.register("fusion", "cross")
class CrossFusion(Fusion):
    """MA-CMF: layers in which text attends to the image, with a memory of the kind that the spec names."""

    reads_text_features = True

    def __init__(self, spec: FusionSpec, width: int, image_width: int) -> None:
        super().__init__()
        heads = spec.heads or 0
        expect(
            heads >= 1 and width % heads == 0, "model.backbone.fusion.heads", heads, f"a divisor of the width, {width}"
        )
        is_shared = spec.memory == "shared"
        self.shared = SharedMemory(width, image_width, spec.shared_slots, spec.shared_width) if is_shared else None
        self.layers = nn.ModuleList(FusionLayer(spec, width, image_width) for _ in range(spec.depth or 0))
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
            fused, keys, _queries = layer(fused, padding, keys)
        return self.norm(fused)

    def _inputs(self, image: Features, text: Features) -> tuple[Tensor, Tensor]:
        keys = torch.cat([image.prefix, image.tokens], dim=1)
        return (keys, text.tokens) if self.shared is None else self.shared(keys, text.tokens)

    @torch.no_grad()
    def _steps(
        self, image: Features, text: Features, attention_mask: Tensor
    ) -> Iterator[tuple[FusionLayer, Tensor, Tensor, Tensor, Tensor]]:
        """Every layer and what :meth:`FusionLayer.memory_use` takes."""
        keys, fused = self._inputs(image, text)
        padding = attention_mask == 0
        for layer in self.layers:
            assert isinstance(layer, FusionLayer)
            before = keys
            fused, keys, queries = layer(fused, padding, before)
            yield layer, queries, padding, before, keys

    def attention(self, image: Features, text: Features, attention_mask: Tensor) -> Tensor:
        *_, (layer, queries, _padding, _before, keys) = self._steps(image, text, attention_mask)
        first = image.prefix.shape[1]
        return layer.cross_attention.attention(queries, keys).mean(1)[..., first : first + image.tokens.shape[1]]

    def memory_use(self, image: Features, text: Features, attention_mask: Tensor) -> list[MemoryUse]:
        found = [layer.memory_use(*read) for layer, *read in self._steps(image, text, attention_mask)]
        return [use.of_patches(image.prefix.shape[1]) for use in found if use is not None]


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
