"""Scores of texts and images from their local embeddings, and the contrasts of these scores."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mpma_lightning.objectives.words import Words


def attend(query: Tensor, keys: Tensor, valid: Tensor | None, temperature: float | Tensor) -> Tensor:
    """(B, N, e) context of each query: softmax over the keys, then normalised."""
    scores = query @ keys.transpose(1, 2) / temperature
    if valid is not None:
        scores = scores.masked_fill(~valid.unsqueeze(1), torch.finfo(scores.dtype).min)
    return F.normalize(scores.softmax(-1) @ keys, dim=-1)


def context_cosines(query: Tensor, patches: Tensor, temperature: float | Tensor) -> Tensor:
    """(B, S) cosine of each query with its context in each image.

    The context is not computed: with weights a and similarities s, its dot product with the query is a·s and its
    squared length is aᵀGa, where G holds the inner products of the patches.

    Args:
        query: (S, e) normalised.
        patches: (B, K, e) normalised.
        temperature: of the softmax over the patches.
    """
    similarity = query @ patches.transpose(1, 2)
    weights = (similarity / temperature).softmax(-1)
    gram = patches @ patches.transpose(1, 2)
    length = ((weights @ gram) * weights).sum(-1).clamp(min=1e-12).sqrt()
    return (weights * similarity).sum(-1) / length


def pair_scores(words: Words, patches: Tensor, temperature: float | Tensor, chunk: int) -> Tensor:
    """(B images, B reports) scores: log-mean-exp over a report's words of cos(word, its context in the image).

    GLoRIA sums over words, here they are averaged, so that long reports do not score higher; it also does not divide
    by the sharpness: its logits are five times as large. The scores of a report without words have no meaning; they are
    finite.

    Args:
        words: of the reports.
        patches: (B, K, e) normalised.
        temperature: of the softmax over the patches.
        chunk: images compared at once; limits memory.
    """
    sharpness = 5.0
    valid, there = words.valid, words.places
    query, lengths = words.embeddings.flatten(0, 1).index_select(0, there), valid.sum(1).clamp(min=1)
    columns = []
    for block in patches.split(chunk):
        cosine = context_cosines(query, block, temperature)
        filled = cosine.new_full((len(block), valid.numel()), torch.finfo(cosine.dtype).min)
        filled = filled.index_copy(1, there, sharpness * cosine).view(len(block), *valid.shape)
        columns.append(filled.logsumexp(-1) - lengths.log())
    return torch.cat(columns) / sharpness


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


def against(own: Tensor, logits: Tensor, negative: Tensor) -> Tensor:
    """(N,) InfoNCE of ``own`` (N,) against the ``logits`` (N, M) where ``negative`` (N, M); 0 without any."""
    rest = logits.masked_fill(~negative, torch.finfo(logits.dtype).min).logsumexp(1)
    return F.softplus(rest - own) * negative.any(1)
