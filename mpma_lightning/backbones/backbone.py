"""Backbone: image encoder, text encoder, fusion and alignment heads, as far as a task needs them."""

import math
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data_modules.errors import UserError, expect
from mpma_lightning.backbones.alignment import AlignmentHeads
from mpma_lightning.backbones.encoder import ImageEncoder
from mpma_lightning.backbones.features import Features, Views
from mpma_lightning.backbones.fusion import Fusion
from mpma_lightning.backbones.presets import resolve
from mpma_lightning.backbones.registry import REGISTRY
from mpma_lightning.backbones.representation import mean_over_text, token_at, with_mask_token
from mpma_lightning.backbones.spec import BackboneSpec, Vocabulary
from mpma_lightning.backbones.spec_check import check_spec
from mpma_lightning.backbones.text import TextEncoder
from mpma_lightning.places import places
from mpma_lightning.precision import full

PARTS = ("image", "text", "fusion", "align_global", "align_local")


class Backbone(nn.Module):
    """The requested parts of a backbone; the others are not built, so that DDP has no unused parameters.

    Args:
        spec: names and options; what it leaves open is filled by :func:`resolve`.
        parts: any of ``PARTS``; ``fusion`` and the alignment heads also build the encoders they need.
        vocabulary: required by the text encoder.
        text_config: configuration of a published text encoder whose weights a checkpoint holds, see ``published_bert``.
        views: samples may have further views, whose kind fusion learns to tell.

    Raises:
        UserError: an unknown name, an option out of range, or parts that do not work together.
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
        views: bool = False,
    ) -> None:
        super().__init__()
        self.spec = spec = resolve(spec)
        check_spec(spec)
        self.parts = wanted = with_encoders(parts)
        self.vocabulary = vocabulary
        if "image" in wanted:
            self.image = REGISTRY.build("image", spec.image.encoder, spec.image)
            refuse_unused_fields(spec, self.image)
            if not self.image.has_maps and {"fusion", "align_local"} & set(wanted):
                raise UserError(
                    f"model.backbone.image.encoder is {spec.image.encoder}, whose feature maps do not align with the "
                    "image; this task needs patch tokens: choose another encoder"
                )
        if "text" in wanted:
            if vocabulary is None:
                raise ValueError("a text encoder needs a vocabulary: pass the tokeniser's")
            self.text = REGISTRY.build("text", spec.text.encoder, spec.text, vocabulary, text_config)
        if "fusion" in wanted:
            dropout = spec.text.dropout if spec.fusion.dropout is None else spec.fusion.dropout
            options = replace(spec.fusion, dropout=dropout)
            self.fusion = REGISTRY.build("fusion", spec.fusion.kind, options, self.text.width, self.image.width)
            if views:
                self.fusion.tell_views(self.image.width)
        if "align_global" in wanted:
            self.align_global = AlignmentHeads(spec.align, self.image.width, self.text.width)
        self.local_level: int | None = None
        if "align_local" in wanted:
            self.local_level, width = local_level_of(spec, self.image)
            self.align_local = AlignmentHeads(spec.align, width, self.text.width)

    @property
    def text_config(self) -> dict[str, Any] | None:
        """Configuration of a published text encoder; ``None`` without one."""
        return self.text.published_config if "text" in self.parts else None

    @property
    def fused_parts(self) -> tuple[str, ...]:
        """The encoders whose features fusion reads and that a loss on the fused text therefore trains."""
        return ("image", "text") if self.fusion.reads_text_features else ("image",)

    def fuse(self, image: Features, text: Features | None, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Fused text tokens H (B, T, D); ``text`` is the text encoder's output, ``None`` where it is not yet known."""
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
        """Pooled fused text and pooled image, concatenated, for downstream tasks [M3AE].

        Args:
            image: features of the whole image.
            input_ids: (B, T) ids of the whole text.
            attention_mask: (B, T), 0 at padding.
            pool: ``mask``: H at a [MASK] inserted before the final [SEP], since report reconstruction trains H at
                [MASK] only; ``mean`` of H over the text; ``cls``: H at [CLS], which M3AE's matching loss trains.

        Returns:
            (B, D text + D image).
        """
        input_ids, attention_mask, position = self._pooling_input(input_ids, attention_mask, pool)
        fused = self.fuse(image, None, input_ids, attention_mask)
        text = mean_over_text(fused, attention_mask) if pool == "mean" else token_at(fused, position)
        return torch.cat([text, image.pooled], dim=-1)

    def _pooling_input(self, input_ids: Tensor, attention_mask: Tensor, pool: str) -> tuple[Tensor, Tensor, Tensor]:
        """Ids and attention mask of the text for fusion, and the position (B, 1) to pool at."""
        expect(pool in ("mask", "mean", "cls"), "pool", pool, "mask, mean or cls")
        if pool == "mask":
            assert self.vocabulary is not None
            return with_mask_token(input_ids, attention_mask, self.vocabulary)
        return input_ids, attention_mask, attention_mask.new_zeros(len(input_ids), 1)

    @torch.no_grad()
    def fused_attention(
        self, image: Features, input_ids: Tensor, attention_mask: Tensor, pool: Literal["mask", "mean", "cls"] = "mask"
    ) -> Tensor | None:
        """(B, H', W') attention of the token that :meth:`fused_representation` pools to the patches.

        Of the last fusion layer, mean over heads; ``None`` for a fusion without attention.
        """
        if not self.fusion.reads_text_features or image.grid is None:
            return None
        input_ids, attention_mask, position = self._pooling_input(input_ids, attention_mask, pool)
        maps = self.fusion.attention(image, self.text(input_ids, attention_mask), attention_mask)
        if maps is None:
            return None
        pooled = mean_over_text(maps, attention_mask) if pool == "mean" else token_at(maps, position)
        return pooled.unflatten(-1, image.grid)

    def local_image(self, image: Tensor, visible: Tensor | None = None) -> Features:
        """Features of images (B, 3, H, W) with what :meth:`embed_patches` reads; ``visible`` as for the encoder."""
        if self.local_level is None:
            return self.image(image, visible)
        return self.image(image, visible, local=self.local_level)

    def with_views(self, image: Features, views: Tensor | None, kinds: Tensor) -> Features:
        """``image`` with the further views of its samples; ``pooled`` becomes the mean over a sample's views.

        Args:
            image: features of the first views (B).
            views: (M, 3, H, W), normalised: the views whose kind is not 0, in their order; ``None`` without any.
            kinds: (B, V) int64, 0 where a sample lacks the view.
        """
        pooled = image.pooled.new_zeros(kinds.numel(), self.image.width)
        count = image.prefix.shape[1] + (image.tokens.shape[1] if image.grid is None else math.prod(image.grid))
        tokens = image.tokens.new_zeros(kinds.numel(), count, image.tokens.shape[-1])
        if views is not None:
            found, there = self.image(views), places(kinds > 0, len(views))
            pooled = pooled.index_copy(0, there, found.pooled.to(pooled.dtype))
            tokens = tokens.index_copy(0, there, torch.cat([found.prefix, found.tokens], dim=1).to(tokens.dtype))
        pooled, tokens = (of.unflatten(0, kinds.shape) for of in (pooled, tokens))
        further = Views(image.pooled, pooled, tokens, kinds)
        return replace(image, pooled=further.mean(image.pooled, pooled), views=further)

    def embed_patches(self, image: Features) -> Tensor:
        """(B, K, e) L2-normalised local embeddings of the features that :meth:`local_image` gave."""
        patches = image.tokens if self.local_level is None else image.local
        assert patches is not None
        return self.align_local.image(patches)

    def local_grid(self, image: Features) -> tuple[int, int]:
        """(H', W') of the whole image in the tokens of :meth:`embed_patches`."""
        grid = image.grid if self.local_level is None else image.local_grid
        assert grid is not None  # local alignment refuses encoders without maps
        return grid

    def embed_image(self, image: Features) -> Tensor:
        """(B, e) L2-normalised global image embedding."""
        if self.spec.align.pooled == "after":
            embedding = self.align_global.image(image.tokens, normalise=False).mean(1)
            if image.views is not None:
                others = image.views.tokens[:, :, image.prefix.shape[1] :]
                further = self.align_global.image(others, normalise=False).mean(2)
                embedding = image.views.mean(embedding, further)
            return F.normalize(full(embedding), dim=-1)
        return self.align_global.image(image.pooled)

    def embed_text(self, text: Features) -> Tensor:
        """(B, e) L2-normalised global text embedding."""
        return self.align_global.text(text.pooled)

    @torch.no_grad()
    def count_parameters(self) -> dict[str, int]:
        """Number of parameters of each part."""
        return {part: sum(p.numel() for p in self.get_submodule(part).parameters()) for part in self.parts}


def with_encoders(parts: Iterable[str]) -> tuple[str, ...]:
    """``parts`` and the encoders that fusion and the alignment heads need, in the order of ``PARTS``."""
    wanted = set(parts)
    if unknown := wanted - set(PARTS):
        raise ValueError(f"unknown backbone parts {sorted(unknown)}; known: {PARTS}")
    if wanted & {"fusion", "align_global", "align_local"}:
        wanted |= {"image", "text"}
    return tuple(part for part in PARTS if part in wanted)


def local_level_of(spec: BackboneSpec, encoder: ImageEncoder) -> tuple[int | None, int]:
    """The level that local alignment reads, as the encoder numbers it, ``None`` for the last, and the width there.

    Raises:
        UserError: the encoder has no such level.
    """
    chosen = -1 if spec.align.local_level is None else spec.align.local_level
    if chosen == -1:
        return None, encoder.width
    levels = encoder.local_levels
    first, last = levels.indices[0], levels.indices[-1]
    level = last + 1 + chosen if chosen < 0 else chosen
    possible = f"{first} to {last}, or {first - last - 1} to -1 from the end, the levels of {spec.image.encoder}"
    expect(first <= level <= last, "model.backbone.align.local_level", chosen, possible)
    return (None if level == last else level), levels.widths[level - first]


def refuse_unused_fields(spec: BackboneSpec, encoder: ImageEncoder) -> None:
    """Refuse a field of the image spec that was set although the encoder does not use it.

    What the preset chose for its own encoder, such as a stem, stays in the spec of another encoder and is no error.

    Raises:
        UserError: with the field and its value.
    """
    found, chosen = asdict(spec.image), asdict(resolve(spec.name).image)
    neutral: dict[str, object] = {"options": {}, "weights": None, "stem": "linear", "pool": "mean"}
    for name, usual in neutral.items():
        value = found[name]
        if name not in encoder.honours and value not in (None, usual, chosen[name]):
            raise UserError(
                f"model.backbone.image.{name} is {value}, which {spec.image.encoder} does not use; leave it out or "
                "choose an encoder that does"
            )
