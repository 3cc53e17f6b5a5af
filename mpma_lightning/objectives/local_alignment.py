"""Local alignment of words and patches."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from data_modules.errors import expect
from mpma_lightning.backbones import Backbone
from mpma_lightning.objectives.base import Objective, ObjectiveOptions
from mpma_lightning.objectives.global_alignment import bounded, group_contrast
from mpma_lightning.objectives.local_scores import against, attend, pair_scores, token_contrast
from mpma_lightning.objectives.state import PretrainingState
from mpma_lightning.objectives.words import Words
from mpma_lightning.precision import full_precision


@dataclass
class LocalAlignmentOptions(ObjectiveOptions):
    """L_l of unmasked words and visible patches: images against reports by words [GLoRIA], or L_word + L_patch [MGCA].

    Attributes:
        weight: λ_l.
        temperature: τ_l, of the contrast, and of the attention unless that has its own.
        attention_temperature: of the softmax over the patches; that of the contrast when ``null``. GLoRIA: 0.25 beside
            0.1.
        learn_temperature: train the log-scale, bounded to τ ≥ 0.01.
        negatives: ``batch``: the other reports (images) of the local batch, by word-aggregated scores [GLoRIA];
            ``pair``: the other words (patches) of the same pair [MGCA], a contrast that can be solved by position
            alone; ``docs/ablations.md`` compares both.
        chunk: images compared at once with all reports under ``batch``; limits memory.
    """

    temperature: float = 0.1
    attention_temperature: float | None = None
    learn_temperature: bool = False
    negatives: Literal["batch", "pair"] = "batch"
    chunk: int = 16

    needs: ClassVar[tuple[str, ...]] = ("align_local",)

    def build(self, backbone: Backbone) -> "LocalAlignment":
        return LocalAlignment(self)


class LocalAlignment(Objective):
    """Mean over the words (patches) of a sample, then over samples; under ``batch`` also over both directions.

    The contrast within a pair can be solved by position alone. Therefore ``local_gap`` is logged: the loss with the
    image of another sample, less the loss.

    Args:
        options: of the objective.

    Raises:
        UserError: a temperature that is not above 0.
    """

    trains = ("image", "text")

    def __init__(self, options: LocalAlignmentOptions) -> None:
        super().__init__()
        own = options.attention_temperature
        expect(options.temperature > 0, "temperature of local alignment", options.temperature, "more than 0")
        expect(own is None or own > 0, "attention_temperature of local alignment", own, "more than 0, or null")
        self.fixed, self.own_attention, self.chunk = options.temperature, own, options.chunk
        self.negatives = options.negatives
        self.log_scale: nn.Parameter | None = None
        if options.learn_temperature:
            self.log_scale = nn.Parameter(torch.tensor(math.log(1 / options.temperature)))

    @property
    def temperature(self) -> float | Tensor:
        """Current τ_l of the contrast."""
        return self.fixed if self.log_scale is None else (-bounded(self.log_scale)).exp()

    @property
    def attention_temperature(self) -> float | Tensor:
        """Current temperature of the softmax over the patches."""
        return self.temperature if self.own_attention is None else self.own_attention

    def losses(self, words: Words, patches: Tensor, group: Tensor) -> Tensor:
        """(B,) loss of each sample; 0 for a sample without an unmasked word."""
        some = words.valid.any(1)
        if self.negatives == "batch":
            both = self._logits(words, patches, some)
            loss = (group_contrast(both, group, group, some) + group_contrast(both.T, group, group, some)) / 2
            return torch.where(some, loss, 0)
        query, tau, attention = words.embeddings, self.temperature, self.attention_temperature
        word = token_contrast(query, attend(query, patches, None, attention), words.valid, words.same, tau)
        everything = torch.ones(patches.shape[:2], dtype=torch.bool, device=patches.device)
        patch = token_contrast(patches, attend(patches, query, words.valid, attention), everything, None, tau)
        return (word + patch) * some

    def _logits(self, words: Words, patches: Tensor, some: Tensor) -> Tensor:
        """(images, reports) scores over τ; 0 for samples that are not in ``some`` (B,)."""
        scores = pair_scores(words, patches, self.attention_temperature, self.chunk)
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
