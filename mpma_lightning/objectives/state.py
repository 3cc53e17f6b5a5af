"""Input of the objectives: masked images and reports, and features that are computed when first read."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from data_modules.errors import UserError
from mpma_lightning.backbones import Backbone, Features
from mpma_lightning.masking import ImageMask, ReportMask
from mpma_lightning.objectives.words import WordCounts, Words, words_of

Pairing = Literal["joint", "separate", "unmasked_align"]


@dataclass
class PretrainingState:
    """One batch, and the features that each objective reads.

    Image reconstruction reads the masked image only, under any ``pairing``: the image assists the report [paper].

    - ``joint``: report reconstruction, alignment and matching read the masked image and the masked report.
    - ``separate``: report reconstruction reads the masked report and the whole image; alignment and matching read the
      whole image and the whole report. (M3AE's image decoder reads the whole report too; ours reads no text.)
    - ``unmasked_align``: report reconstruction reads the masked report and the masked image; alignment and matching
      read the whole image and the whole report.

    Attributes:
        backbone: the parts built for the configured objectives.
        image: (B, 3, S, S) encoder input, normalised. ``None`` without images.
        further: what :meth:`Backbone.with_views` takes; ``None`` where samples have one view. Further views are never
            masked, and image reconstruction does not read them.
        target: (B, C, s·S, s·S) reconstruction target, normalised.
        image_mask: which patches are visible.
        input_ids, attention_mask, word_ids: (B, T) the whole report. ``None`` without reports.
        report_mask: the report with masked words.
        group: (B,) int64; positives of global alignment have the same group.
        seed: (B,) of the samples, for objectives with random choices.
        pairing: see above.
        across_ranks: gather negatives of all ranks, in training; evaluation reads the local batch only.
        word_counts: of the words that :attr:`local_words` holds, where they were counted before the batch reached the
            device; ``None``: they are counted when first read.
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
    seed: Tensor | None = None
    pairing: Pairing = "joint"
    across_ranks: bool = False
    further: tuple[Tensor | None, Tensor] | None = None
    word_counts: WordCounts | None = None
    outputs: dict[str, Tensor] = field(default_factory=dict)

    def require(self, *names: str) -> None:
        """Raise KeyError for an input that the batch does not have."""
        for name in names:
            if getattr(self, name) is None:
                raise KeyError(f"this objective needs '{name}', which the batch does not hold")

    @cached_property
    def image_features(self) -> Features:
        """Features of the visible patches; of all patches without an image mask."""
        self.require("image")
        if self.image_mask is None:
            return self.whole_image
        if not self.backbone.image.can_drop_patches:
            raise UserError(
                f"image encoder {self.backbone.spec.image.encoder} cannot drop masked patches; choose a plain ViT, set "
                "model.masking.image_ratio to 0, or give the objectives of masked input a weight of 0"
            )
        assert self.image is not None
        return self._with_views(self.backbone.local_image(self.image, self.image_mask.visible))

    @cached_property
    def whole_image(self) -> Features:
        """Features of every patch."""
        self.require("image")
        assert self.image is not None
        return self._with_views(self.backbone.local_image(self.image))

    def _with_views(self, image: Features) -> Features:
        return image if self.further is None else self.backbone.with_views(image, *self.further)

    @cached_property
    def text_features(self) -> Features:
        """Features of the masked report, before fusion."""
        self.require("report_mask")
        assert self.report_mask is not None
        return self.backbone.text(self.report_mask.input_ids, self.attention_mask)

    @cached_property
    def fused(self) -> Tensor:
        """(B, T, D) the masked report after fusion with the image."""
        self.require("report_mask", "attention_mask")
        assert self.report_mask is not None and self.attention_mask is not None
        text = self.text_features if self.backbone.fusion.reads_text_features else None
        return self.backbone.fuse(self.fused_image, text, self.report_mask.input_ids, self.attention_mask)

    @property
    def fused_image(self) -> Features:
        """The image features fusion reads."""
        return self.whole_image if self.pairing == "separate" else self.image_features

    @property
    def aligned_image(self) -> Features:
        """The image features alignment reads."""
        return self.image_features if self.pairing == "joint" else self.whole_image

    @property
    def aligned_ids(self) -> Tensor:
        """(B, T) the report alignment reads."""
        self.require("input_ids", "report_mask")
        assert self.report_mask is not None and self.input_ids is not None
        return self.report_mask.input_ids if self.pairing == "joint" else self.input_ids

    @cached_property
    def aligned_text(self) -> Features:
        """The text features alignment reads."""
        if self.pairing == "joint":
            return self.text_features
        self.require("input_ids")
        return self.backbone.text(self.input_ids, self.attention_mask)

    def fused_pairs(self, images: Tensor, reports: Tensor) -> Tensor:
        """(M, T, D) reports after fusion, as alignment reads both sides.

        Args:
            images: (M,) rows of the batch.
            reports: (M,) rows of the batch.
        """
        self.require("attention_mask")
        assert self.attention_mask is not None
        text = self.aligned_text.rows(reports) if self.backbone.fusion.reads_text_features else None
        ids, mask = self.aligned_ids[reports], self.attention_mask[reports]
        return self.backbone.fuse(self.aligned_image.rows(images), text, ids, mask)

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
        return self.backbone.embed_patches(self.aligned_image)

    @cached_property
    def local_words(self) -> Words:
        """The words of the report in the local alignment space; without masked words under ``joint``."""
        self.require("report_mask", "word_ids")
        assert self.report_mask is not None and self.word_ids is not None and self.input_ids is not None
        pieces = self.backbone.align_local.text(self.aligned_text.tokens, normalise=False)
        seen = aligned_pieces(self.report_mask, self.pairing)
        counts = self.word_counts or WordCounts.of(self.word_ids, seen)
        return words_of(pieces, self.input_ids, self.word_ids, seen, counts)


def aligned_pieces(mask: ReportMask, pairing: Pairing) -> Tensor:
    """(B, T) bool: the pieces that local alignment reads; special tokens, which are of no word, among them."""
    return ~mask.masked if pairing == "joint" else torch.ones_like(mask.masked)
