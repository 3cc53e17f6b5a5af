"""ReportDecoder: the interface of what writes a report for an image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from data_modules.errors import UserError
from mpma_lightning.backbones import Backbone, Features

Segments = Sequence[Sequence[int] | None]
"""A draft: written word-pieces, and None for every gap."""


@dataclass
class Written:
    """Drafts of B reports.

    Attributes:
        pieces: word-pieces of each report, without special tokens.
        gaps: of each report the word-pieces of each of its gaps; a decoder that fills no gaps has one, the report.
        confidence: (B,) mean probability of the written pieces.
    """

    pieces: list[list[int]]
    gaps: list[list[list[int]]]
    confidence: Tensor


class ReportDecoder(nn.Module):
    """Learns the word-pieces of reports and writes reports. It reads the backbone but does not hold it.

    Attributes:
        positions: longest report, special tokens included.
    """

    parts: ClassVar[tuple[str, ...]]
    """Parts of the backbone that it reads."""
    fills_gaps: ClassVar[bool] = False
    """Whether it can write what is missing in a draft."""

    def __init__(self, positions: int) -> None:
        super().__init__()
        self.positions = positions

    def begin_from(self, backbone: Backbone) -> None:
        """Take what a new decoder starts with from the backbone, whose weights are loaded by then."""

    def losses(
        self, backbone: Backbone, image: Features, batch: Mapping[str, Tensor]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Losses as (sum, count) by name.

        Args:
            backbone: with ``parts``.
            image: features of B whole images.
            batch: ``input_ids`` and ``attention_mask`` (B, T) of the reports, ``seed`` (B,).
        """
        raise NotImplementedError

    def write(
        self, backbone: Backbone, image: Features, seed: Tensor, given: Sequence[Segments] | None = None
    ) -> Written:
        """Reports for B images, without gradient.

        Args:
            backbone: with ``parts``.
            image: features of B whole images.
            seed: (B,) int64, of whatever is drawn.
            given: what is written already, for decoders that fill gaps.
        """
        raise NotImplementedError

    def fits(self, given: Segments) -> bool:
        """Whether the positions hold a draft with at least a piece for each of its gaps."""
        return sum(1 if pieces is None else len(pieces) for pieces in given) + 2 <= self.positions

    def check_length(self, length: int, what: str = "texts have") -> None:
        """UserError for texts of more word-pieces than there are positions."""
        if length > self.positions:
            raise UserError(
                f"{what} {length} tokens but the report decoder has {self.positions} positions; set "
                f"data.text.max_tokens to {self.positions}, or fit a decoder with more"
            )
