"""Matching loss of retrieval fine-tuning: a pair must score higher than with another report or another image."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data_modules.errors import expect
from mpma_lightning.backbones import Backbone
from mpma_lightning.masking import OTHER_IMAGE_STREAM
from mpma_lightning.objectives.base import Objective, ObjectiveOptions
from mpma_lightning.objectives.image_text_matching import draw_negatives
from mpma_lightning.objectives.state import PretrainingState
from mpma_lightning.precision import full


@dataclass
class MatchRankingOptions(ObjectiveOptions):
    """Softmax over a pair and its negatives [M3AE, ViLT].

    Attributes:
        weight: of the loss; 0: matching is not trained.
        negatives: negative pairs for each pair [M3AE: 15]; fusion encodes all of them.
    """

    weight: float = 0.0
    negatives: int = 15

    needs: ClassVar[tuple[str, ...]] = ("image", "text", "fusion", "align_global")

    def build(self, backbone: Backbone) -> "MatchRanking":
        return MatchRanking(backbone, self.negatives)


class MatchRanking(Objective):
    """Half of the negatives are other reports for the image, half are other images for the report, so that scores are
    comparable in both directions. They come from the local batch, hard ones by global similarity as in
    :class:`ImageTextMatching` [ours]; M3AE samples 15 reports per image uniformly from the data set.
    """

    def __init__(self, backbone: Backbone, negatives: int) -> None:
        super().__init__()
        expect(negatives >= 1, "model.matching.negatives", negatives, "at least 1")
        self.negatives = negatives
        self.trains = backbone.fused_parts
        self.head = nn.Linear(backbone.text.width, 1)

    def _pairs(self, state: PretrainingState) -> tuple[Tensor, Tensor]:
        """(B, 1 + N) rows of images and of reports, the true pair first; -1 where the batch has no negative. N is the
        number of negatives, or what a small batch has of them."""
        assert state.group is not None and state.seed is not None
        own = torch.arange(len(state.group), device=state.group.device).unsqueeze(1)
        similarity = state.global_image.detach() @ state.global_text.detach().T
        most = max(1, len(own) - 1)
        of_reports, of_images = min((self.negatives + 1) // 2, most), min(self.negatives // 2, most)
        reports = draw_negatives(similarity, state.group, state.seed, of_reports)
        images = draw_negatives(similarity.T, state.group, state.seed, of_images, OTHER_IMAGE_STREAM)
        image_rows = torch.cat([own, torch.where(reports < 0, -1, own), images], 1)
        return image_rows, torch.cat([own, reports, torch.where(images < 0, -1, own)], 1)

    def forward(self, state: PretrainingState) -> tuple[Tensor, Tensor]:
        """Sum of the cross-entropy to the true pair, and the number of pairs."""
        state.require("image", "report_mask", "group", "seed")
        images, reports = self._pairs(state)
        fused = state.fused_pairs(images.clamp(min=0).flatten(), reports.clamp(min=0).flatten())
        scores = full(self.head(fused[:, 0])).view(images.shape)
        logits = scores.masked_fill(images < 0, -torch.inf)
        state.outputs["matched"] = logits.detach().argmax(1) == 0
        loss = F.cross_entropy(
            logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device), reduction="sum"
        )
        return loss, torch.full((), float(len(logits)), device=loss.device)

    def monitor(self, state: PretrainingState) -> dict[str, tuple[Tensor, Tensor]]:
        """Share of pairs that score higher than all their negatives."""
        right = state.outputs["matched"]
        return {"matching_accuracy": (right.sum().float(), torch.full((), float(len(right)), device=right.device))}
