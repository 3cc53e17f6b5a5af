"""Local alignment of words, or whole sentences, and patches."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from data_modules.errors import expect
from mpma_lightning.backbones import Backbone
from mpma_lightning.objectives.global_alignment import group_contrast
from mpma_lightning.objectives.local_matching import Matching, MatchingOptions
from mpma_lightning.objectives.local_scores import against, attend, pair_scores, sigmoid_contrast, token_contrast
from mpma_lightning.objectives.sentence_alignment import SentenceAlignment
from mpma_lightning.objectives.state import PretrainingState
from mpma_lightning.objectives.words import Words
from mpma_lightning.precision import full_precision


@dataclass
class LocalAlignmentOptions(MatchingOptions):
    """L_l of unmasked words and visible patches: images against reports by words [GLoRIA], or L_word + L_patch [MGCA].

    Attributes:
        weight: λ_l.
        negatives: ``batch``: the other reports (images) of the local batch, by word-aggregated scores [GLoRIA];
            ``pair``: the other words (patches) of the same pair [MGCA], a contrast that can be solved by position
            alone; ``docs/ablations.md`` compares both.
        queries: what attends to the patches: ``words`` of the report, or its ``sentences``, each by itself against the
            images of all processes [RadZero]. Sentences are read whole, also under ``pairing: joint``.
    """

    negatives: Literal["batch", "pair"] = "batch"
    queries: Literal["words", "sentences"] = "words"

    needs: ClassVar[tuple[str, ...]] = ("align_local",)

    @property
    def reads_sentences(self) -> bool:
        return self.queries == "sentences"

    def build(self, backbone: Backbone) -> "LocalAlignment | SentenceAlignment":
        if self.negatives == "pair":
            for name, value, usual in (
                ("queries", self.queries, "words"),
                ("grouping", self.grouping, "softmax"),
                ("contrast", self.contrast, "softmax"),
            ):
                expected = f"{usual} with negatives: pair; or set negatives to batch"
                expect(value == usual, f"model.objectives.local_alignment.{name}", value, expected)
        return SentenceAlignment(self) if self.reads_sentences else LocalAlignment(self)


class LocalAlignment(Matching):
    """Mean over the words (patches) of a sample, then over samples; under ``batch`` also over both directions.

    The contrast within a pair can be solved by position alone. Therefore ``local_gap`` is logged: the loss with the
    image of another sample, less the loss.
    """

    def __init__(self, options: LocalAlignmentOptions) -> None:
        super().__init__(options)
        self.negatives = options.negatives

    def losses(self, words: Words, patches: Tensor, group: Tensor) -> Tensor:
        """(B,) loss of each sample; 0 for a sample without an unmasked word."""
        some = words.valid.any(1)
        if self.negatives == "batch":
            both = self._logits(words, patches, some)
            if self.bias is not None:
                loss = sigmoid_contrast(both + self.bias, group.unsqueeze(1) == group.unsqueeze(0), some)
            else:
                loss = (group_contrast(both, group, group, some) + group_contrast(both.T, group, group, some)) / 2
            return torch.where(some, loss, 0)
        query, tau, attention = words.embeddings, self.temperature, self.attention_temperature
        word = token_contrast(query, attend(query, patches, None, attention), words.valid, words.same, tau)
        everything = torch.ones(patches.shape[:2], dtype=torch.bool, device=patches.device)
        patch = token_contrast(patches, attend(patches, query, words.valid, attention), everything, None, tau)
        return (word + patch) * some

    def _logits(self, words: Words, patches: Tensor, some: Tensor) -> Tensor:
        """(images, reports) scores over τ; 0 for samples that are not in ``some`` (B,)."""
        scores = pair_scores(words, patches, self.grouping, self.chunk)
        return scores.masked_fill(~(some.unsqueeze(1) & some), 0) / self.temperature

    def forward(self, state: PretrainingState) -> tuple[Tensor, Tensor]:
        """Sum over the samples that have an unmasked word, and their number."""
        state.require("image", "report_mask", "word_ids", "group")
        assert state.group is not None
        words, patches = state.local_words, state.local_image  # computed before: encoders stay in mixed precision
        with full_precision(patches):
            losses = self.losses(words, patches, state.group)
        return losses.sum(), words.valid.any(1).sum().to(torch.float32)

    @torch.no_grad()
    def monitor(self, state: PretrainingState) -> dict[str, tuple[Tensor, Tensor]]:
        """``local_gap``; above 0 only if words depend on their image."""
        words, patches, group = state.local_words, state.local_image, state.group
        if group is None or len(patches) < 2:
            return {}
        some = words.valid.any(1)
        with full_precision(patches):
            if self.negatives == "batch":
                gap = swapped_gap(self._logits(words, patches, some), group, some)
                other = (group != group[one_before(some)]) & some
            else:
                gap = self.losses(words, patches.roll(1, 0), group) - self.losses(words, patches, group)
                other = (group != group.roll(1)) & some
        return {"local_gap": ((gap * other).sum(), other.sum().to(torch.float32))}


def one_before(some: Tensor) -> Tensor:
    """(B,) the place in ``some`` (B,) bool of the true value before each true one; before the first comes the last."""
    order = some.logical_not().to(torch.uint8).argsort(stable=True)
    number = some.long().cumsum(0) - 1
    return order[torch.where(number > 0, number - 1, some.sum().clamp(min=1) - 1)]


def swapped_gap(logits: Tensor, group: Tensor, some: Tensor) -> Tensor:
    """(B,) loss with the image of the sample before in place of the own, less the loss with the own.

    The own and the other image (report) are both left out of the negatives, so that the gap is 0 on average where the
    scores do not depend on the pair. Mean over both directions.

    Args:
        logits: (B images, B reports) scores over τ.
        group: (B,).
        some: (B,) bool, the samples that there are.
    """
    index, before = torch.arange(len(group), device=logits.device), one_before(some)
    same = group.unsqueeze(1) == group.unsqueeze(0)
    negative = ~(same | same[before]) & some
    gaps = [
        against(rows[index, before], rows, negative) - against(rows[index, index], rows, negative)
        for rows in (logits, logits.T)
    ]
    return (gaps[0] + gaps[1]) / 2
