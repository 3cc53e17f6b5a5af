"""Local alignment of words and patches, within a pair."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mpma_lightning.backbones import Backbone
from mpma_lightning.objectives.base import Objective, ObjectiveOptions
from mpma_lightning.objectives.state import PretrainingState, Words


@dataclass
class LocalAlignmentOptions(ObjectiveOptions):
    """L_l = L_word + L_patch [MGCA] over unmasked words and visible patches.

    Attributes:
        weight: λ_l.
        temperature: τ_l, of the attention and of the contrast.
    """

    temperature: float = 0.1

    needs: ClassVar[tuple[str, ...]] = ("align_local",)

    def build(self, backbone: Backbone) -> "LocalAlignment":
        return LocalAlignment(self.temperature)


def token_contrast(query: Tensor, context: Tensor, valid: Tensor, same: Tensor | None, temperature: float) -> Tensor:
    """Symmetric InfoNCE between tokens and their contexts, inside each sample.

    Args:
        query, context: (B, N, e) normalised.
        valid: (B, N) tokens that count.
        same: (B, N, N) pairs that are not negatives of each other (equal words), or ``None``.
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


def attend(query: Tensor, keys: Tensor, valid: Tensor | None, temperature: float) -> Tensor:
    """(B, N, e) context of each query: softmax over the keys, then normalised."""
    scores = query @ keys.transpose(1, 2) / temperature
    if valid is not None:
        scores = scores.masked_fill(~valid.unsqueeze(1), torch.finfo(scores.dtype).min)
    return F.normalize(scores.softmax(-1) @ keys, dim=-1)


class LocalAlignment(Objective):
    """Mean over the words (patches) of a sample, then over samples.

    Within-pair contrast can be solved by position alone, so ``local_gap`` is logged: the loss with the
    images rolled by one sample, less the loss.
    """

    trains = ("image", "text")

    def __init__(self, temperature: float) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature is {temperature}; expected > 0")
        self.temperature = temperature

    def losses(self, words: Words, patches: Tensor) -> Tensor:
        """(B,) L_word + L_patch of each sample."""
        query, tau = words.embeddings, self.temperature
        same = words.identity.unsqueeze(1) == words.identity.unsqueeze(2)
        word = token_contrast(query, attend(query, patches, None, tau), words.valid, same, tau)
        everything = torch.ones(patches.shape[:2], dtype=torch.bool, device=patches.device)
        patch = token_contrast(patches, attend(patches, query, words.valid, tau), everything, None, tau)
        return (word + patch) * words.valid.any(1)

    def forward(self, state: PretrainingState) -> tuple[Tensor, Tensor]:
        """Sum over the samples that have an unmasked word, and their number."""
        state.require("image", "report_mask", "word_ids")
        losses = self.losses(state.local_words, state.local_image)
        return losses.sum(), state.local_words.valid.any(1).sum().to(torch.float32)

    @torch.no_grad()
    def monitor(self, state: PretrainingState) -> dict[str, tuple[Tensor, Tensor]]:
        """``local_gap``: rolled loss less loss; positive only if the words read their own image."""
        words, patches = state.local_words, state.local_image
        if state.group is None or len(patches) < 2:
            return {}
        other = (state.group != state.group.roll(1)) & words.valid.any(1)
        gap = self.losses(words, patches.roll(1, 0)) - self.losses(words, patches)
        return {"local_gap": ((gap * other).sum(), other.sum().to(torch.float32))}
