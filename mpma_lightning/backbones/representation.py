"""Pooling of token sequences."""

import torch
from torch import Tensor

from mpma_lightning.backbones.spec import Vocabulary


def with_mask_token(input_ids: Tensor, attention_mask: Tensor, vocabulary: Vocabulary) -> tuple[Tensor, Tensor, Tensor]:
    """Insert a [MASK] before the last token, [SEP], of each text.

    Returns:
        ids and attention mask (B, T + 1), and the position (B, 1) of the [MASK].
    """
    place = attention_mask.sum(1, keepdim=True) - 1
    column = torch.zeros_like(place)
    ids = torch.cat([input_ids, column + vocabulary.pad_id], dim=1)
    ids = ids.scatter(1, place + 1, input_ids.gather(1, place)).scatter(1, place, vocabulary.mask)
    return ids, torch.cat([attention_mask, column], dim=1).scatter(1, place + 1, 1), place


def token_at(tokens: Tensor, place: Tensor) -> Tensor:
    """The token (B, D) of (B, T, D) ``tokens`` at ``place`` (B, 1)."""
    return tokens.gather(1, place.unsqueeze(-1).expand(-1, -1, tokens.shape[-1])).squeeze(1)


def mean_over_text(tokens: Tensor, attention_mask: Tensor) -> Tensor:
    """Mean (B, D) of (B, T, D) ``tokens`` without padding."""
    weight = attention_mask.unsqueeze(-1).to(tokens.dtype)
    return (tokens * weight).sum(1) / weight.sum(1)
