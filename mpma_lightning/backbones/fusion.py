"""Memory-Augmented Cross-Modal Fusion (MA-CMF): text attends to the image and to a learned memory.

The paper only names the module. Its structure here follows Meshed-Memory (CVPR 2020); the rest is our choice.
"""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from data_modules.contract import FURTHER_VIEWS
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
    view_kinds: nn.Parameter | None

    def __init__(self) -> None:
        super().__init__()
        self.register_parameter("view_kinds", None)

    def tell_views(self, image_width: int) -> None:
        """Add an embedding of the kind of a view to its tokens: the first view's, and one of ``FURTHER_VIEWS``. It is
        zero at the start."""
        self.view_kinds = nn.Parameter(torch.zeros(1 + len(FURTHER_VIEWS), image_width))

    def image_tokens(self, image: Features) -> tuple[Tensor, Tensor | None]:
        """The tokens (B, N, Dv) of all views of the image, the first view's first, and where they are padding
        (B, N); ``None``: nowhere."""
        tokens = torch.cat([image.prefix, image.tokens], dim=1)
        if self.view_kinds is not None:
            tokens = tokens + self.view_kinds[0]
        if image.views is None:
            return tokens, None
        others, kinds = image.views.flat, image.views.flat_kinds
        if self.view_kinds is not None:
            others = others + self.view_kinds[kinds]
        first = kinds.new_ones(tokens.shape[:2])
        return torch.cat([tokens, others], dim=1), torch.cat([first, kinds], dim=1) == 0

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
        keys, fused, absent = self._inputs(image, text)
        padding = attention_mask == 0
        for layer in self.layers:
            fused, keys, _queries = layer(fused, padding, keys, absent)
        return self.norm(fused)

    def _inputs(self, image: Features, text: Features) -> tuple[Tensor, Tensor, Tensor | None]:
        keys, absent = self.image_tokens(image)
        keys, texts = (keys, text.tokens) if self.shared is None else self.shared(keys, text.tokens)
        return keys, texts, absent

    @torch.no_grad()
    def _steps(
        self, image: Features, text: Features, attention_mask: Tensor
    ) -> Iterator[tuple[FusionLayer, Tensor, Tensor, Tensor, Tensor, Tensor | None]]:
        """Every layer and what :meth:`FusionLayer.memory_use` takes."""
        keys, fused, absent = self._inputs(image, text)
        padding = attention_mask == 0
        for layer in self.layers:
            assert isinstance(layer, FusionLayer)
            before = keys
            fused, keys, queries = layer(fused, padding, before, absent)
            yield layer, queries, padding, before, keys, absent

    def attention(self, image: Features, text: Features, attention_mask: Tensor) -> Tensor:
        *_, (layer, queries, _padding, _before, keys, absent) = self._steps(image, text, attention_mask)
        first = image.prefix.shape[1]
        weights = layer.cross_attention.attention(queries, keys, absent).mean(1)
        return weights[..., first : first + image.tokens.shape[1]]

    def memory_use(self, image: Features, text: Features, attention_mask: Tensor) -> list[MemoryUse]:
        steps = self._steps(image, text, attention_mask)
        found = [
            layer.memory_use(q, padding, before, keys, absent) for layer, q, padding, before, keys, absent in steps
        ]
        first = image.prefix.shape[1]
        return [use.of_patches(slice(first, first + image.tokens.shape[1])) for use in found if use is not None]


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
        """The vector (B, D) that is added to the word embeddings; of several views from the mean of theirs."""
        mean = image.tokens.mean(1)
        if image.views is not None:
            mean = image.views.mean(mean, image.views.tokens[:, :, image.prefix.shape[1] :].mean(2))
        return self.project(mean)

    def tell_views(self, image_width: int) -> None:
        """Nothing: views are averaged."""
