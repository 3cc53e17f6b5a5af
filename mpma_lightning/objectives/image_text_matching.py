"""Image-text matching: whether a report belongs to an image, predicted from the fused [CLS]."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mpma_lightning.backbones import Backbone
from mpma_lightning.masking import HALF_STREAM, OTHER_IMAGE_STREAM, OTHER_REPORT_STREAM, hashed_uniform
from mpma_lightning.objectives.base import Objective, ObjectiveOptions
from mpma_lightning.objectives.state import PretrainingState
from mpma_lightning.precision import full

TEMPERATURE = 0.07


@dataclass
class ImageTextMatchingOptions(ObjectiveOptions):
    """L_itm [M3AE, ALBEF].

    Attributes:
        weight: λ_itm.
        negatives: ``both``: each pair against its image with another report and its report with another image [ALBEF];
            ``half``: half of the reports of a batch with another image, the others with their own, so that fusion
            reads a third as many pairs [M3AE].
    """

    weight: float = 0.0
    negatives: Literal["both", "half"] = "both"

    needs: ClassVar[tuple[str, ...]] = ("image", "text", "fusion")

    def build(self, backbone: Backbone) -> "ImageTextMatching":
        return ImageTextMatching(backbone, self.negatives)


def draw_negatives(
    similarity: Tensor, group: Tensor, seed: Tensor, count: int = 1, stream: int = OTHER_REPORT_STREAM
) -> Tensor:
    """(B, count) columns of other groups for each row, sampled by softmax(similarity / 0.07) without replacement.

    The sample (Gumbel-top-k) is determined by the rows' seeds. -1 where the batch has no further column of another
    group.

    Args:
        similarity: (B, B) cosines.
        group, seed: (B,) int64.
        count: columns per row.
        stream: of random numbers; images and reports have different ones, so that their samples are independent.
    """
    uniform = hashed_uniform(seed, len(seed), stream).clamp(min=1e-12)
    score = similarity.double() / TEMPERATURE - (-uniform.log()).log()
    score = score.masked_fill(group.unsqueeze(1) == group.unsqueeze(0), -torch.inf)
    best = score.topk(min(count, len(seed)), dim=1)
    drawn = best.indices.masked_fill(best.values == -torch.inf, -1)
    return F.pad(drawn, (0, count - drawn.shape[1]), value=-1)


class ImageTextMatching(Objective):
    """Negatives come from the local batch: hard ones by global similarity where global alignment is trained [ALBEF],
    else uniform ones [M3AE]. Reads what alignment reads. ALBEF's two-way softmax is one logit here.
    """

    def __init__(self, backbone: Backbone, negatives: str = "both") -> None:
        super().__init__()
        self.negatives = negatives
        self.trains = backbone.fused_parts
        self.head = nn.Linear(backbone.text.width, 1)

    def _pairs(self, state: PretrainingState) -> tuple[Tensor, Tensor, Tensor]:
        """(3 B,) rows of images, rows of reports, and whether they count: all pairs, then the negatives, some of which
        a batch with other pairs of the same group lacks. Under ``half`` (B,)."""
        assert state.group is not None and state.seed is not None
        own = torch.arange(len(state.group), device=state.group.device)
        similarity = torch.zeros(len(own), len(own), device=own.device)
        if "align_global" in state.backbone.parts:
            similarity = state.global_image.detach() @ state.global_text.detach().T
        image = draw_negatives(similarity.T, state.group, state.seed, stream=OTHER_IMAGE_STREAM).squeeze(1)
        if self.negatives == "half":
            place = hashed_uniform(state.seed, 1, HALF_STREAM).squeeze(1).argsort().argsort()
            swapped = (place < len(own) // 2) & (image >= 0)
            return torch.where(swapped, image, own), own, torch.ones_like(swapped)
        report = draw_negatives(similarity, state.group, state.seed).squeeze(1)
        some = report >= 0
        images, reports = torch.cat([own, own, image.clamp(min=0)]), torch.cat([own, report.clamp(min=0), own])
        return images, reports, torch.cat([torch.ones_like(some), some, some])

    def forward(self, state: PretrainingState) -> tuple[Tensor, Tensor]:
        """Sum of binary cross-entropies over matching and negative pairs, and their number."""
        state.require("image", "report_mask", "group", "seed")
        images, reports, counted = self._pairs(state)
        fused = state.fused_pairs(images, reports)
        logits = full(self.head(fused[:, 0])).squeeze(-1)
        match = images == reports
        state.outputs["matching_right"] = ((logits.detach() > 0) == match) & counted
        state.outputs["matching_counted"] = counted
        loss = F.binary_cross_entropy_with_logits(logits, match.to(logits.dtype), reduction="none")
        return (loss * counted).sum(), counted.sum().float()

    def monitor(self, state: PretrainingState) -> dict[str, tuple[Tensor, Tensor]]:
        """Accuracy over pairs; predicting no match reaches two thirds with both negatives of every pair, else half."""
        right, counted = state.outputs["matching_right"], state.outputs["matching_counted"]
        return {"matching_accuracy": (right.sum().float(), counted.sum().float())}
