"""What the objectives of one step read: masked inputs and, computed only when asked for, the features."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from mpma_lightning.backbones import Backbone, Features
from mpma_lightning.masking import ImageMask, ReportMask


@dataclass
class PretrainingState:
    """One batch in one (jointly masked) pass.

    Attributes:
        backbone: the parts built for the configured objectives.
        image: (B, 3, S, S) encoder input, normalised. ``None`` without images.
        target: (B, C, s·S, s·S) reconstruction target, normalised.
        image_mask: which patches are visible.
        input_ids, attention_mask, word_ids: (B, T) the whole report. ``None`` without reports.
        report_mask: the report with masked words.
        group: (B,) positives of global alignment share a group.
        align_unmasked: alignment reads an extra pass over the whole image and report.
        across_ranks: gather negatives over ranks (training); evaluation uses the local batch, without collectives.
    """

    backbone: Backbone
    image: Tensor | None = None
    target: Tensor | None = None
    image_mask: ImageMask | None = None
    input_ids: Tensor | None = None
    attention_mask: Tensor | None = None
    word_ids: Tensor | None = None
    report_mask: ReportMask | None = None
    group: Tensor | None = None
    align_unmasked: bool = False
    across_ranks: bool = False
    outputs: dict[str, Tensor] = field(default_factory=dict)

    def require(self, *names: str) -> None:
        """Raise ``KeyError`` naming the missing input."""
        for name in names:
            if getattr(self, name) is None:
                raise KeyError(f"this objective needs '{name}', which the batch does not hold")

    @cached_property
    def image_features(self) -> Features:
        """Features of the visible patches."""
        self.require("image")
        return self.backbone.image(self.image, self.image_mask.visible if self.image_mask else None)

    @cached_property
    def text_features(self) -> Features:
        """Features of the masked report, which has not seen the image."""
        self.require("report_mask")
        assert self.report_mask is not None
        return self.backbone.text(self.report_mask.input_ids, self.attention_mask)

    @cached_property
    def fused(self) -> Tensor:
        """(B, T, D) the masked report after fusion with the visible patches."""
        self.require("report_mask", "attention_mask")
        assert self.report_mask is not None and self.attention_mask is not None
        text = None if self.backbone.spec.fusion == "pooled" else self.text_features
        return self.backbone.fuse(self.image_features, text, self.report_mask.input_ids, self.attention_mask)

    @cached_property
    def aligned_image(self) -> Features:
        """The image features alignment reads: those of the visible patches, or of a pass over the whole image."""
        if not self.align_unmasked:
            return self.image_features
        self.require("image")
        return self.backbone.image(self.image)

    @cached_property
    def aligned_text(self) -> Features:
        """The text features alignment reads: those of the masked report, or of a pass over the whole report."""
        if not self.align_unmasked:
            return self.text_features
        self.require("input_ids")
        return self.backbone.text(self.input_ids, self.attention_mask)

    @cached_property
    def global_image(self) -> Tensor:
        """(B, e) normalised."""
        return self.backbone.embed_image(self.aligned_image)

    @cached_property
    def global_text(self) -> Tensor:
        """(B, e) normalised."""
        return self.backbone.embed_text(self.aligned_text)

    @cached_property
    def local_image(self) -> Tensor:
        """(B, K, e) normalised patch embeddings."""
        return self.backbone.align_local.image(self.aligned_image.tokens)

    @cached_property
    def local_words(self) -> "Words":
        """The words of the report in the local alignment space; masked ones are left out."""
        self.require("report_mask", "word_ids")
        assert self.report_mask is not None and self.word_ids is not None and self.input_ids is not None
        pieces = self.backbone.align_local.text(self.aligned_text.tokens, normalise=False)
        seen = torch.ones_like(self.report_mask.masked) if self.align_unmasked else ~self.report_mask.masked
        return words_of(pieces, self.input_ids, self.word_ids, seen)


@dataclass
class Words:
    """Words of a batch: ``embeddings`` (B, W, e) normalised, ``valid`` (B, W), ``identity`` (B, W): equal words."""

    embeddings: Tensor
    valid: Tensor
    identity: Tensor


def words_of(pieces: Tensor, input_ids: Tensor, word_ids: Tensor, keep: Tensor) -> Words:
    """Average the word-pieces of each word; pieces with ``keep`` false or without a word are left out.

    Args:
        pieces: (B, T, e).
        input_ids, word_ids: (B, T).
        keep: (B, T) bool.
    """
    belongs = keep & (word_ids >= 0)
    slots = int(word_ids.max().clamp(min=0)) + 1
    index = word_ids.clamp(min=0)
    weight = belongs.to(pieces.dtype)
    batch, _, width = pieces.shape
    zeros = pieces.new_zeros(batch, slots, width)
    total = zeros.scatter_add(1, index.unsqueeze(-1).expand_as(pieces), pieces * weight.unsqueeze(-1))
    count = pieces.new_zeros(batch, slots).scatter_add(1, index, weight)
    mean = total / count.clamp(min=1).unsqueeze(-1)
    place = torch.arange(word_ids.shape[1], device=word_ids.device).expand_as(word_ids)
    first = torch.full((batch, slots), word_ids.shape[1], device=word_ids.device)
    first = first.scatter_reduce(1, index, place.masked_fill(~belongs, word_ids.shape[1]), "amin")
    within = place - first.gather(1, index)
    code = (input_ids + 1) * 1_000_003**2 + (input_ids + 7) * (within + 1) * 7919 * (input_ids + 13)
    identity = torch.zeros(batch, slots, dtype=torch.int64, device=word_ids.device)
    identity = identity.scatter_add(1, index, code.masked_fill(~belongs, 0))
    return Words(F.normalize(mean.float(), dim=-1), count > 0, identity)
