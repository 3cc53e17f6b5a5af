"""Local alignment of words and patches, within each pair or across the batch."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data_modules.errors import expect
from mpma_lightning.backbones import Backbone
from mpma_lightning.objectives.base import Objective, ObjectiveOptions
from mpma_lightning.objectives.global_alignment import bounded, group_contrast
from mpma_lightning.objectives.state import PretrainingState, Words
from mpma_lightning.precision import full_precision


@dataclass
class LocalAlignmentOptions(ObjectiveOptions):
    """L_l of unmasked words and visible patches: images against reports by words [GLoRIA], or L_word + L_patch [MGCA].

    Attributes:
        weight: λ_l.
        temperature: τ_l, of the attention and of the contrast.
        negatives: ``batch``: the other reports (images) of the local batch, by word-aggregated scores [GLoRIA];
            ``pair``: the other words (patches) of the same pair [MGCA], a contrast that can be solved by position
            alone; ``docs/ablations.md`` compares both.
        learn_temperature: train the log-scale, bounded to τ ≥ 0.01.
        chunk: images compared at once with all reports under ``batch``; limits memory.
    """

    temperature: float = 0.1
    negatives: Literal["batch", "pair"] = "batch"
    learn_temperature: bool = False
    chunk: int = 16

    needs: ClassVar[tuple[str, ...]] = ("align_local",)

    def build(self, backbone: Backbone) -> "LocalAlignment":
        return LocalAlignment(self)


def token_contrast(
    query: Tensor, context: Tensor, valid: Tensor, same: Tensor | None, temperature: float | Tensor
) -> Tensor:
    """Symmetric InfoNCE between tokens and their contexts, inside each sample.

    Args:
        query, context: (B, N, e) normalised.
        valid: (B, N) tokens that count.
        same: (B, N, N) pairs that are not negatives (equal words); None: there are none.
        temperature: τ.

    Returns:
        (B,) mean over the valid tokens of a sample; 0 for a sample without any.
    """
    logits = query @ context.transpose(1, 2) / temperature
    excluded = ~valid.unsqueeze(1) | ~valid.unsqueeze(2)
    if same is not None:
        excluded = excluded | same
    diagonal = torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(excluded & ~diagonal, -torch.inf)
    own = logits.diagonal(dim1=1, dim2=2)
    loss = (logits.logsumexp(2) + logits.logsumexp(1)) / 2 - own
    return (loss * valid).sum(1) / valid.sum(1).clamp(min=1)


def attend(query: Tensor, keys: Tensor, valid: Tensor | None, temperature: float | Tensor) -> Tensor:
    """(B, N, e) context of each query: softmax over the keys, then normalised."""
    scores = query @ keys.transpose(1, 2) / temperature
    if valid is not None:
        scores = scores.masked_fill(~valid.unsqueeze(1), torch.finfo(scores.dtype).min)
    return F.normalize(scores.softmax(-1) @ keys, dim=-1)


def pair_scores(words: Words, patches: Tensor, temperature: float | Tensor, chunk: int) -> Tensor:
    """(B images, B reports) scores: log-mean-exp over a report's words of cos(word, its context in the image).

    The context is not computed: with attention a and similarities s, its dot product with the word is a·s and its
    squared length is aᵀGa, where G holds the inner products of the patches. Every report must have a word.

    GLoRIA sums over words, here they are averaged, so that long reports do not score higher; it also does not divide
    by the sharpness: its logits are five times as large.
    """
    sharpness = 5.0
    query, valid = words.embeddings[words.valid], words.valid
    columns = []
    for block in patches.split(chunk):
        similarity = query @ block.transpose(1, 2)
        weights = (similarity / temperature).softmax(-1)
        gram = block @ block.transpose(1, 2)
        length = ((weights @ gram) * weights).sum(-1).clamp(min=1e-12).sqrt()
        cosine = (weights * similarity).sum(-1) / length
        filled = cosine.new_full((len(block), *valid.shape), -torch.inf)
        filled = filled.masked_scatter(valid.expand_as(filled), sharpness * cosine)
        columns.append(filled.logsumexp(-1) - valid.sum(1).log())
    return torch.cat(columns) / sharpness


class LocalAlignment(Objective):
    """Mean over the words (patches) of a sample, then over samples; under ``batch`` also over both directions.

    The contrast within a pair can be solved by position alone. Therefore ``local_gap`` is logged: the loss with the
    image of another sample, less the loss.
    """

    trains = ("image", "text")

    def __init__(self, options: LocalAlignmentOptions) -> None:
        super().__init__()
        expect(options.temperature > 0, "temperature of local alignment", options.temperature, "more than 0")
        self.fixed, self.negatives, self.chunk = options.temperature, options.negatives, options.chunk
        self.log_scale: nn.Parameter | None = None
        if options.learn_temperature:
            self.log_scale = nn.Parameter(torch.tensor(math.log(1 / options.temperature)))

    @property
    def temperature(self) -> float | Tensor:
        """Current τ_l."""
        return self.fixed if self.log_scale is None else (-bounded(self.log_scale)).exp()

    def losses(self, words: Words, patches: Tensor, group: Tensor) -> Tensor:
        """(B,) loss of each sample; 0 for a sample without an unmasked word."""
        some = words.valid.any(1)
        if self.negatives == "batch":
            return self._across_pairs(words, patches, group, some)
        query, tau = words.embeddings, self.temperature
        same = words.identity.unsqueeze(1) == words.identity.unsqueeze(2)
        word = token_contrast(query, attend(query, patches, None, tau), words.valid, same, tau)
        everything = torch.ones(patches.shape[:2], dtype=torch.bool, device=patches.device)
        patch = token_contrast(patches, attend(patches, query, words.valid, tau), everything, None, tau)
        return (word + patch) * some

    def _across_pairs(self, words: Words, patches: Tensor, group: Tensor, some: Tensor) -> Tensor:
        kept = Words(words.embeddings[some], words.valid[some], words.identity[some])
        logits = pair_scores(kept, patches[some], self.temperature, self.chunk) / self.temperature
        both = group_contrast(logits, group[some], group[some]) + group_contrast(logits.T, group[some], group[some])
        return torch.zeros(len(some), dtype=both.dtype, device=both.device).masked_scatter(some, both / 2)

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
        words, patches = state.local_words, state.local_image
        if state.group is None or len(patches) < 2:
            return {}
        other = (state.group != state.group.roll(1)) & words.valid.any(1)
        with full_precision(patches):
            own = self.losses(words, patches, state.group)
            gap = self.losses(words, patches.roll(1, 0), state.group) - own
        return {"local_gap": ((gap * other).sum(), other.sum().to(torch.float32))}
