"""Masked report reconstruction from the fused text."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mpma_lightning.backbones import Backbone, Features
from mpma_lightning.heads.report_head import ReportHead
from mpma_lightning.objectives.base import Objective, ObjectiveOptions
from mpma_lightning.objectives.state import PretrainingState
from mpma_lightning.precision import full


@dataclass
class ReportReconstructionOptions(ObjectiveOptions):
    """L_rep: cross-entropy of the report's word-pieces.

    Attributes:
        weight: λ_rep.
        loss_on: ``masked`` positions, or ``all``: also unmasked words, special tokens and padding, as in MRM's released
            code (its paper says masked ones; it pads to a fixed length, here to the longest report of the batch).
        assisted: predict from the report fused with the image; otherwise plain masked language modelling.
    """

    loss_on: Literal["masked", "all"] = "masked"
    assisted: bool = True

    masks: ClassVar[bool] = True

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("image", "text", "fusion") if self.assisted else ("text",)

    def build(self, backbone: Backbone) -> "ReportReconstruction":
        return ReportReconstruction(self, backbone)


class ReportReconstruction(Objective):
    """If assisted, the loss also trains the image encoder, through fusion."""

    def __init__(self, options: ReportReconstructionOptions, backbone: Backbone) -> None:
        super().__init__()
        self.loss_on, self.assisted = options.loss_on, options.assisted
        self.trains = backbone.fused_parts if options.assisted else ("text",)
        self.head = ReportHead(backbone.text.width, len(backbone.text.word_embeddings))

    def reads(self, state: PretrainingState, part: str) -> Features:
        return state.fused_image if part == "image" else state.text_features

    def forward(self, state: PretrainingState) -> tuple[Tensor, Tensor]:
        """Sum of cross-entropies over word-pieces, and their number."""
        state.require("input_ids", "report_mask")
        assert state.input_ids is not None and state.report_mask is not None
        hidden = (state.fused if self.assisted else state.text_features.tokens).flatten(0, 1)
        truth, masked, all_count = state.input_ids.flatten(), state.report_mask.places, self.loss_on == "all"
        if not all_count:
            hidden, truth = hidden.index_select(0, masked), truth.index_select(0, masked)
        logits = full(self.head(hidden, state.backbone.text.word_embeddings))
        guess = logits.detach().argmax(-1)
        state.outputs["report_prediction"] = guess.index_select(0, masked) if all_count else guess
        loss = F.cross_entropy(logits, truth, reduction="sum")
        return loss, torch.full((), float(len(truth)), device=loss.device)

    def monitor(self, state: PretrainingState) -> dict[str, tuple[Tensor, Tensor]]:
        """Accuracy at masked positions."""
        assert state.input_ids is not None and state.report_mask is not None
        truth = state.input_ids.flatten().index_select(0, state.report_mask.places)
        right = state.outputs["report_prediction"] == truth
        return {"masked_word_accuracy": (right.sum().float(), state.report_mask.masked.sum().float())}
