"""Local alignment of whole sentences and patches, over the batch of all ranks."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mpma_lightning.backbones import Features
from mpma_lightning.distributed import first_local_row, gather_rows, max_over_ranks
from mpma_lightning.objectives.local_matching import Matching
from mpma_lightning.objectives.local_scores import against, context_cosines, sigmoid_contrast
from mpma_lightning.objectives.state import PretrainingState
from mpma_lightning.precision import full_precision


@dataclass
class Board:
    """Scores of sentences and images.

    Attributes:
        to_images: (S, N) scores over τ of the S sentences of this process's reports with the N images of all.
        to_sentences: (B, U) of this process's B images with the U distinct sentences of all.
        image: (S,) the image of each sentence, of the B.
        first: which of the N images is the first of the B.
        number: (S,) which of the U each sentence is.
        holds: (N, U) bool: the sentence is in a report of the image's group.
    """

    to_images: Tensor
    to_sentences: Tensor
    image: Tensor
    first: int
    number: Tensor
    holds: Tensor


class SentenceAlignment(Matching):
    """Every sentence of a report against the images, and its image against the sentences [RadZero's MP-NCE].

    A sentence that occurs in several reports belongs to the images of all of them [ours]: neither these images nor the
    image's other sentences are negatives. Mean over the sentences of a report, then over reports.
    """

    def reads(self, state: PretrainingState, part: str) -> Features:
        return state.aligned_image if part == "image" else state.sentence_features

    def board(self, state: PretrainingState) -> Board:
        """All scores that the loss of this process needs; a collective when gathering."""
        assert state.sentences is not None and state.group is not None
        everywhere = state.across_ranks
        gather = gather_rows if everywhere else (lambda rows: rows)
        slot, query, patches = state.sentences.slot, state.sentence_queries, state.local_image
        most = max_over_ranks(slot.shape[1]) if everywhere else slot.shape[1]
        slot = F.pad(slot, (0, most - slot.shape[1]), value=-1)
        mine, row = slot >= 0, slot.clamp(min=0)
        queries = query[row] * mine.unsqueeze(-1)
        identity = state.sentences.identity[row]
        all_patches, all_queries = gather(patches), gather(queries).flatten(0, 1)
        all_identity, valid, group = gather(identity).flatten(), gather(mine.long()).flatten() > 0, gather(state.group)

        distinct, number = all_identity[valid].unique(return_inverse=True)
        place = torch.arange(len(valid), device=valid.device)[valid]
        first_place = place.new_full((len(distinct),), len(valid)).scatter_reduce(0, number, place, "amin")
        owner = torch.arange(len(group), device=valid.device).repeat_interleave(most)[valid]
        told = torch.zeros(len(group), len(distinct), dtype=all_queries.dtype, device=valid.device)
        told = told.index_put((owner, number), told.new_ones(()))
        same = (group.unsqueeze(1) == group.unsqueeze(0)).to(told.dtype)
        first = first_local_row(len(patches)) if everywhere else 0
        local = (owner >= first) & (owner < first + len(patches))
        tau = self.temperature
        return Board(
            to_images=self._scores(queries[mine], all_patches).T / tau,
            to_sentences=self._scores(all_queries[first_place], patches) / tau,
            image=owner[local] - first,
            first=first,
            number=number[local],
            holds=same @ told > 0,
        )

    def _scores(self, query: Tensor, patches: Tensor) -> Tensor:
        return torch.cat([context_cosines(query, block, self.grouping) for block in patches.split(self.chunk)])

    def losses(self, board: Board, images: int) -> Tensor:
        """(B,) loss of each of ``images`` samples; 0 for one without a sentence."""
        here = board.holds[board.first : board.first + images]
        if self.bias is not None:
            some = torch.zeros(images, dtype=torch.bool, device=here.device).index_fill(0, board.image, True)
            return sigmoid_contrast(board.to_sentences + self.bias, here) * some
        sentence = torch.arange(len(board.number), device=here.device)
        row = against(board.to_images[sentence, board.first + board.image], board.to_images,
                      ~board.holds.T[board.number])  # fmt: skip
        columns = board.to_sentences[board.image]
        column = against(columns[sentence, board.number], columns, ~here[board.image])
        return _mean_by((row + column) / 2, board.image, images)

    def forward(self, state: PretrainingState) -> tuple[Tensor, Tensor]:
        """Sum over the samples whose report has a sentence, and their number."""
        state.require("image", "sentences", "group")
        assert state.sentences is not None
        patches, _ = state.local_image, state.sentence_queries  # before: encoders stay in mixed precision
        with full_precision(patches):
            losses = self.losses(self.board(state), len(patches))
        return losses.sum(), (state.sentences.slot >= 0).any(1).sum().to(torch.float32)

    @torch.no_grad()
    def monitor(self, state: PretrainingState) -> dict[str, tuple[Tensor, Tensor]]:
        """``local_gap``: the loss of a sentence with the image before in place of its own, less that with its own.

        Of sentences that do not belong to both images; neither is among the negatives. Local batch only.
        """
        patches, _ = state.local_image, state.sentence_queries
        count, everywhere = len(patches), state.across_ranks
        if state.group is None or count < 2:
            return {}
        state.across_ranks = False
        with full_precision(patches):
            board = self.board(state)
        state.across_ranks = everywhere
        sentence, before = torch.arange(len(board.number), device=patches.device), (board.image - 1) % count
        holds = board.holds.T[board.number]
        fair = ~holds[sentence, before]
        negative = ~holds.scatter(1, before.unsqueeze(1), True)
        scores = board.to_images
        gap = against(scores[sentence, before], scores, negative) - against(
            scores[sentence, board.image], scores, negative
        )
        return {"local_gap": ((gap * fair).sum(), fair.sum().to(torch.float32))}


def _mean_by(values: Tensor, owner: Tensor, count: int) -> Tensor:
    """(count,) mean of the ``values`` (S,) of each ``owner`` (S,); 0 for one without any."""
    zeros = values.new_zeros(count)
    total, number = zeros.index_add(0, owner, values), zeros.index_add(0, owner, torch.ones_like(values))
    return total / number.clamp(min=1)
