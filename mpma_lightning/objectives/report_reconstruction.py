"""Masked report reconstruction at masked positions, from the fused text."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mpma_lightning.backbones import Backbone
from mpma_lightning.heads.report_head import ReportHead
from mpma_lightning.objectives.base import Objective, ObjectiveOptions
from mpma_lightning.objectives.state import PretrainingState


@dataclass
class ReportReconstructionOptions(ObjectiveOptions):
    """L_rep: cross-entropy at masked positions (MRM's released code averages over padding too; a known defect).

    Attributes:
        weight: λ_rep.
    """

    needs: ClassVar[tuple[str, ...]] = ("image", "text", "fusion")

    def build(self, backbone: Backbone) -> "ReportReconstruction":
        return ReportReconstruction(backbone)


class ReportReconstruction(Objective):
    """The image reaches the report only through fusion, so this loss trains the image encoder too.

    Pooled fusion runs the text encoder itself and leaves the unfused text features alone.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.trains = ("image",) if backbone.spec.fusion == "pooled" else ("image", "text")
        self.head = ReportHead(backbone.text.width, len(backbone.text.word_embeddings))

    def forward(self, state: PretrainingState) -> tuple[Tensor, Tensor]:
        """Sum of cross-entropies over masked word-pieces, and their number."""
        state.require("input_ids", "report_mask")
        assert state.input_ids is not None and state.report_mask is not None
        masked = state.report_mask.masked
        logits = self.head(state.fused[masked], state.backbone.text.word_embeddings).float()
        state.outputs["report_prediction"] = logits.detach().argmax(-1)
        loss = F.cross_entropy(logits, state.input_ids[masked], reduction="sum")
        return loss, masked.sum().to(torch.float32)

    def monitor(self, state: PretrainingState) -> dict[str, tuple[Tensor, Tensor]]:
        """Accuracy at masked positions."""
        assert state.input_ids is not None and state.report_mask is not None
        masked = state.report_mask.masked
        right = state.outputs["report_prediction"] == state.input_ids[masked]
        return {"masked_word_accuracy": (right.sum().float(), masked.sum().float())}
