"""The words of a batch of texts in the local alignment space."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mpma_lightning.backbones import Backbone
from mpma_lightning.places import places
from mpma_lightning.precision import full


@dataclass
class WordCounts:
    """Sizes of the words of B texts.

    Attributes:
        slots: words of the longest text, W; at least 1.
        longest: word-pieces of the longest word that counts, L; at least 1.
        valid: words that count, of all texts.
    """

    slots: int
    longest: int
    valid: int

    @staticmethod
    def of(word_ids: Tensor, keep: Tensor) -> "WordCounts":
        """Counting waits for the device: call it while the batch is in the host's memory.

        Args:
            word_ids: (B, T).
            keep: (B, T) bool.
        """
        belongs, index = keep & (word_ids >= 0), word_ids.clamp(min=0)
        slots = int(index.max()) + 1
        within = _within(index, belongs, slots)
        words = torch.zeros(len(word_ids), slots, dtype=torch.long, device=word_ids.device)
        valid = words.scatter_add(1, index, belongs.long()) > 0
        return WordCounts(slots, int(within.max()) + 1, int(valid.sum()))


@dataclass
class Words:
    """Words of a batch.

    Attributes:
        embeddings: (B, W, e) normalised.
        valid: (B, W) bool.
        spelled: (B, W, L) the word-pieces of each word plus 1, then zeros.
        count: number of valid words.
    """

    embeddings: Tensor
    valid: Tensor
    spelled: Tensor
    count: int

    @property
    def same(self) -> Tensor:
        """(B, W, W) bool: which words of a text have the same word-pieces."""
        return (self.spelled.unsqueeze(1) == self.spelled.unsqueeze(2)).all(-1)

    @property
    def places(self) -> Tensor:
        """(count,) positions of the valid words in the flattened batch."""
        return places(self.valid, self.count)


def words_of(pieces: Tensor, input_ids: Tensor, word_ids: Tensor, keep: Tensor, counts: WordCounts) -> Words:
    """Average the word-pieces of each word, without those whose ``keep`` is false and those of no word.

    Args:
        pieces: (B, T, e).
        input_ids, word_ids: (B, T).
        keep: (B, T) bool.
        counts: of ``word_ids`` and ``keep``.
    """
    pieces, belongs = full(pieces), keep & (word_ids >= 0)
    index = word_ids.clamp(min=0)
    weight = belongs.to(pieces.dtype)
    batch, _, width = pieces.shape
    zeros = pieces.new_zeros(batch, counts.slots, width)
    total = zeros.scatter_add(1, index.unsqueeze(-1).expand_as(pieces), pieces * weight.unsqueeze(-1))
    count = pieces.new_zeros(batch, counts.slots).scatter_add(1, index, weight)
    mean = total / count.clamp(min=1).unsqueeze(-1)
    place = index * counts.longest + _within(index, belongs, counts.slots)
    spelled = input_ids.new_zeros(batch, counts.slots * counts.longest)
    spelled = spelled.scatter_add(1, place, (input_ids + 1).masked_fill(~belongs, 0))
    spelled = spelled.view(batch, counts.slots, counts.longest)
    return Words(F.normalize(mean, dim=-1), count > 0, spelled, counts.valid)


def whole_words(backbone: Backbone, tokens: Tensor, input_ids: Tensor, word_ids: Tensor) -> Words:
    """All words of texts in the local alignment space.

    Args:
        backbone: with ``align_local``.
        tokens: (B, T, D) of the text encoder.
        input_ids, word_ids: (B, T).
    """
    pieces = backbone.align_local.text(tokens, normalise=False)
    everything = torch.ones_like(input_ids, dtype=torch.bool)
    return words_of(pieces, input_ids, word_ids, everything, WordCounts.of(word_ids, everything))


def _within(index: Tensor, belongs: Tensor, slots: int) -> Tensor:
    """(B, T) the place of each piece in its word, counted from the first that belongs; 0 where none does.

    Args:
        index: (B, T) the word of each piece.
        belongs: (B, T) bool, whether it counts.
        slots: W.
    """
    length = index.shape[1]
    place = torch.arange(length, device=index.device).expand_as(index)
    first = torch.full((len(index), slots), length, device=index.device)
    first = first.scatter_reduce(1, index, place.masked_fill(~belongs, length), "amin")
    return (place - first.gather(1, index)).masked_fill(~belongs, 0)
