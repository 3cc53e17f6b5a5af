"""Backbone: image encoder, text encoder, fusion and alignment heads — only the parts a task asked for."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from data_modules.errors import expect
from mpma_lightning.backbones.alignment import AlignmentHeads
from mpma_lightning.backbones.encoder import ImageEncoder
from mpma_lightning.backbones.features import Features
from mpma_lightning.backbones.fusion import Fusion
from mpma_lightning.backbones.presets import resolve
from mpma_lightning.backbones.registry import REGISTRY
from mpma_lightning.backbones.representation import mean_over_text, token_at, with_mask_token
from mpma_lightning.backbones.spec import BackboneSpec, Vocabulary
from mpma_lightning.backbones.spec_check import check_spec
from mpma_lightning.backbones.text import TextEncoder

PARTS = ("image", "text", "fusion", "align_global", "align_local")


class Backbone(nn.Module):
    """The parts of one backbone; a part that was not asked for is absent, so DDP has no unused parameters.

    Args:
        spec: a complete spec (see :func:`resolve`).
        parts: any of ``PARTS``; ``fusion`` and the alignment heads bring the encoders they read.
        vocabulary: needed when the text encoder is built.
        text_config: of a published text encoder whose weights a checkpoint will bring, see ``published_bert``.
    """

    image: ImageEncoder
    text: TextEncoder
    fusion: Fusion
    align_global: AlignmentHeads
    align_local: AlignmentHeads

    def __init__(
        self,
        spec: BackboneSpec,
        parts: Iterable[str],
        vocabulary: Vocabulary | None = None,
        text_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec = resolve(spec)
        check_spec(spec)
        self.parts = wanted = with_encoders(parts)
        self.vocabulary = vocabulary
        if "image" in wanted:
            self.image = REGISTRY.build("image", spec.image.encoder, spec.image)
        if "text" in wanted:
            if vocabulary is None:
                raise ValueError("a text encoder needs a vocabulary: pass the tokeniser's")
            self.text = REGISTRY.build("text", spec.text.encoder, spec.text, vocabulary, text_config)
        if "fusion" in wanted:
            dropout = spec.text.dropout if spec.fusion.dropout is None else spec.fusion.dropout
            options = replace(spec.fusion, dropout=dropout)
            self.fusion = REGISTRY.build("fusion", spec.fusion.kind, options, self.text.width, self.image.width)
        for part in ("align_global", "align_local"):
            if part in wanted:
                self.add_module(part, AlignmentHeads(spec.align, self.image.width, self.text.width))

    @property
    def text_config(self) -> dict[str, Any] | None:
        """Of a published text encoder; ``None`` without one."""
        return self.text.published_config if "text" in self.parts else None

    @property
    def fused_parts(self) -> tuple[str, ...]:
        """The encoders whose features fusion reads: a loss on the fused text gives these a gradient."""
        return ("image", "text") if self.fusion.reads_text_features else ("image",)

    def fuse(self, image: Features, text: Features | None, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Fused text tokens H (B, T, D). ``text`` is the text encoder's output where it is already known and fusion
        reads it; ``None`` otherwise."""
        if text is None and self.fusion.reads_text_features:
            text = self.text(input_ids, attention_mask)
        return self.fusion.fuse(self.text, image, text, input_ids, attention_mask)

    def fused_representation(
        self,
        image: Features,
        input_ids: Tensor,
        attention_mask: Tensor,
        pool: Literal["mask", "mean", "cls"] = "mask",
    ) -> Tensor:
        """Pooled fused text ⧺ pooled image, for downstream use [M3AE, whose [CLS] its matching loss trains].

        Args:
            image: of the whole image.
            input_ids, attention_mask: (B, T) the whole text.
            pool: ``mask``: H at a [MASK] put before the closing [SEP], the one position type that report
                reconstruction trains; ``mean`` of H over the text; ``cls``: H at [CLS].

        Returns:
            (B, D text + D image).
        """
        input_ids, attention_mask, asked = self._asked(input_ids, attention_mask, pool)
        fused = self.fuse(image, None, input_ids, attention_mask)
        text = mean_over_text(fused, attention_mask) if pool == "mean" else token_at(fused, asked)
        return torch.cat([text, image.pooled], dim=-1)

    def _asked(self, input_ids: Tensor, attention_mask: Tensor, pool: str) -> tuple[Tensor, Tensor, Tensor]:
        """Ids and attention mask of the text as fusion reads it, and (B, 1) where it is read."""
        expect(pool in ("mask", "mean", "cls"), "pool", pool, "mask, mean or cls")
        if pool == "mask":
            assert self.vocabulary is not None
            return with_mask_token(input_ids, attention_mask, self.vocabulary)
        return input_ids, attention_mask, attention_mask.new_zeros(len(input_ids), 1)

    @torch.no_grad()
    def fused_attention(
        self, image: Features, input_ids: Tensor, attention_mask: Tensor, pool: Literal["mask", "mean", "cls"] = "mask"
    ) -> Tensor | None:
        """(B, H', W') attention of what :meth:`fused_representation` reads to the patches, in the last fusion layer.

        Mean over heads; ``None`` for a fusion without attention.
        """
        if not self.fusion.reads_text_features or image.grid is None:
            return None
        input_ids, attention_mask, asked = self._asked(input_ids, attention_mask, pool)
        maps = self.fusion.attention(image, self.text(input_ids, attention_mask), attention_mask)
        if maps is None:
            return None
        read = mean_over_text(maps, attention_mask) if pool == "mean" else token_at(maps, asked)
        return read.unflatten(-1, image.grid)

    def embed_image(self, image: Features) -> Tensor:
        """(B, e) L2-normalised global image embedding."""
        return self.align_global.image(image.pooled)

    def embed_text(self, text: Features) -> Tensor:
        """(B, e) L2-normalised global text embedding."""
        return self.align_global.text(text.pooled)

    @torch.no_grad()
    def count_parameters(self) -> dict[str, int]:
        """Parameters of each part built."""
        return {part: sum(p.numel() for p in self.get_submodule(part).parameters()) for part in self.parts}


def with_encoders(parts: Iterable[str]) -> tuple[str, ...]:
    """``parts`` and the encoders that fusion and the alignment heads read, in the order of ``PARTS``."""
    wanted = set(parts)
    if unknown := wanted - set(PARTS):
        raise ValueError(f"unknown backbone parts {sorted(unknown)}; known: {PARTS}")
    if wanted & {"fusion", "align_global", "align_local"}:
        wanted |= {"image", "text"}
    return tuple(part for part in PARTS if part in wanted)
