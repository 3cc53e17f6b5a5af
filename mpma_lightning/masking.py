"""Paired masking of image patches and report words; the masks depend on the seed of the sample only."""

from dataclasses import dataclass

import torch
from torch import Tensor

from data_modules.errors import expect
from mpma_lightning.places import places

IMAGE_STREAM, REPORT_STREAM, PREDICTED_STREAM, STYLE_STREAM, PIECE_STREAM = range(1, 6)
OTHER_REPORT_STREAM, OTHER_IMAGE_STREAM = 6, 7
SHARE_STREAM, GENERATED_STREAM = 8, 9
HALF_STREAM = 10


def _signed(value: int) -> int:
    """``value`` modulo 2^64 as a signed 64-bit integer."""
    value %= 1 << 64
    return value - (1 << 64) if value >= 1 << 63 else value


_GAMMA, _MIX1, _MIX2 = (_signed(v) for v in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64; torch's shift is arithmetic."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def hashed_uniform(seed: Tensor, count: int, stream: int) -> Tensor:
    """Counter-based uniform random numbers in [0, 1): SplitMix64 of (seed, stream, position).

    They have no generator state and depend neither on the device nor on how a batch is split over processes.

    Args:
        seed: (B,) int64.
        count: how many numbers to draw for each sample.
        stream: number of the sequence; the sequences of a sample are independent.

    Returns:
        (B, count) float64.
    """
    position = torch.arange(1, count + 1, device=seed.device, dtype=torch.int64)
    x = _mix(seed ^ _signed(stream * _GAMMA)).unsqueeze(1) + position * _GAMMA
    return _shift_right(_mix(x), 11).to(torch.float64) * 2.0**-53


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift_right(x, 30)) * _MIX1
    x = (x ^ _shift_right(x, 27)) * _MIX2
    return x ^ _shift_right(x, 31)


@dataclass
class ImageMask:
    """``visible`` (B, K): ids of visible patches, ascending; ``masked`` (B, L) bool: true where a patch is hidden."""

    visible: Tensor
    masked: Tensor

    @property
    def hidden(self) -> int:
        """Number L - K of hidden patches, the same in every sample."""
        return self.masked.shape[1] - self.visible.shape[1]


@dataclass
class ReportMask:
    """``input_ids`` (B, T) with [MASK]; ``masked`` (B, T) bool: true at every word piece of a masked word; ``count``:
    number of masked pieces in the batch.

    After :func:`soften_like_bert` some of the masked pieces are random or the original ones instead of [MASK].
    """

    input_ids: Tensor
    masked: Tensor
    count: int

    @staticmethod
    def nothing(input_ids: Tensor) -> "ReportMask":
        """No piece is masked."""
        return ReportMask(input_ids, torch.zeros_like(input_ids, dtype=torch.bool), 0)

    @property
    def places(self) -> Tensor:
        """(count,) positions of the masked pieces in the flattened batch, ascending."""
        return places(self.masked, self.count)


def mask_image(seed: Tensor, num_patches: int, ratio: float) -> ImageMask:
    """Hide ``round(ratio · L)`` patches of each sample, uniformly [MAE]; at least one patch stays visible.

    Args:
        seed: (B,) int64.
        num_patches: L.
        ratio: in [0, 1); 0 hides nothing.
    """
    expect(0 <= ratio < 1, "masking.image_ratio", ratio, "0 <= ratio < 1")
    keep = max(1, num_patches - int(ratio * num_patches + 0.5))
    visible = hashed_uniform(seed, num_patches, IMAGE_STREAM).argsort(dim=1)[:, :keep].sort(dim=1).values
    masked = torch.ones(len(seed), num_patches, dtype=torch.bool, device=seed.device)
    return ImageMask(visible, masked.scatter(1, visible, False))


def mask_report(seed: Tensor, input_ids: Tensor, word_ids: Tensor, ratio: float, mask_id: int) -> ReportMask:
    """Replace whole words by [MASK] [MRM]: ``max(1, round(ratio · n))`` of the n words of a report.

    At least two words stay visible when n ≥ 3, since alignment needs words. Special tokens are never masked. The masked
    pieces are counted, which waits for the device: call it while the batch is in the host's memory.

    Args:
        seed: (B,) int64.
        input_ids: (B, T).
        word_ids: (B, T), number of the word that each piece belongs to; -1 at special tokens.
        ratio: in [0, 1); 0 hides nothing.
        mask_id: id of [MASK].
    """
    expect(0 <= ratio < 1, "masking.report_ratio", ratio, "0 <= ratio < 1")
    if ratio == 0:
        return ReportMask.nothing(input_ids)
    words = word_ids.max(dim=1).values + 1
    chosen = (ratio * words.double() + 0.5).floor().long().clamp(min=1)
    chosen = torch.where(words >= 3, torch.minimum(chosen, words - 2), chosen)
    slots = word_ids.shape[1]
    noise = hashed_uniform(seed, slots, REPORT_STREAM)
    exists = torch.arange(slots, device=seed.device) < words.unsqueeze(1)
    rank = noise.masked_fill(~exists, 2.0).argsort(dim=1).argsort(dim=1)
    word_masked = (rank < chosen.unsqueeze(1)) & exists
    masked = word_masked.gather(1, word_ids.clamp(min=0)) & (word_ids >= 0)
    return ReportMask(input_ids.masked_fill(masked, mask_id), masked, int(masked.sum()))


def mask_pieces(seed: Tensor, content: Tensor) -> Tensor:
    """(B, T) bool: pieces to mask for learning to write a whole report [MaskGIT].

    Of the n pieces of a sample ``max(1, ⌈cos(π u / 2) · n⌉)`` are masked, u uniform: shares from 0 to 1, most of them
    large.

    Args:
        seed: (B,) int64.
        content: (B, T) bool, pieces that may be masked.
    """
    share = torch.cos(torch.pi / 2 * hashed_uniform(seed, 1, SHARE_STREAM)[:, 0])
    count = (share * content.sum(1)).ceil().long().clamp(min=1)
    noise = hashed_uniform(seed, content.shape[1], GENERATED_STREAM).masked_fill(~content, 2.0)
    return content & (noise.argsort(dim=1).argsort(dim=1) < count.unsqueeze(1))


def soften_like_bert(seed: Tensor, input_ids: Tensor, mask: ReportMask, vocabulary: int) -> ReportMask:
    """Of the masked pieces, 80 % stay [MASK], 10 % become a random piece and 10 % the original one [BERT, M3AE].

    Args:
        seed: (B,) int64.
        input_ids: (B, T), the report without masks.
        mask: result of :func:`mask_report`.
        vocabulary: number of tokens; like BERT, random pieces include special tokens.
    """
    length = input_ids.shape[1]
    draw = hashed_uniform(seed, length, STYLE_STREAM)
    piece = (hashed_uniform(seed, length, PIECE_STREAM) * vocabulary).long()
    ids = torch.where(mask.masked & (draw >= 0.8), piece, mask.input_ids)
    return ReportMask(torch.where(mask.masked & (draw >= 0.9), input_ids, ids), mask.masked, mask.count)


def choose_predicted(seed: Tensor, mask: ImageMask, share: float) -> Tensor:
    """Ids (B, M), ascending, of ``max(1, round(share · hidden))`` hidden patches of each sample [CrossMAE].

    Args:
        seed: (B,) int64.
        mask: with at least one hidden patch.
        share: in (0, 1].
    """
    count = max(1, int(share * mask.hidden + 0.5))
    noise = hashed_uniform(seed, mask.masked.shape[1], PREDICTED_STREAM).masked_fill(~mask.masked, 2.0)
    return noise.argsort(dim=1)[:, :count].sort(dim=1).values
