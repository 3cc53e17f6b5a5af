"""What local alignment of words and of sentences share: temperatures, grouping of patches, and contrast."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from data_modules.errors import UserError, expect
from mpma_lightning.objectives.base import Objective, ObjectiveOptions
from mpma_lightning.objectives.global_alignment import bounded
from mpma_lightning.objectives.local_scores import Grouping, softmax_grouping, sparse_grouping


@dataclass
class MatchingOptions(ObjectiveOptions):
    """How texts and patches are scored and contrasted.

    Attributes:
        weight: λ of the objective in the total loss.
        temperature: τ_l, of the contrast, and of the attention unless that has its own.
        attention_temperature: of the softmax over the patches; that of the contrast when ``null``. GLoRIA: 0.25 beside
            0.1.
        grouping: weights of the patches for a query: ``softmax``, or ``sparse``, linear in the similarity with the
            least ones set to 0 [SPARC].
        contrast: ``softmax`` over the batch, or ``sigmoid``, each pair by itself with a learned bias [SigLIP].
        learn_temperature: train the log-scale, bounded to τ ≥ 0.01.
        chunk: images compared at once with all reports under ``batch``; limits memory.
    """

    temperature: float = 0.1
    attention_temperature: float | None = None
    grouping: Literal["softmax", "sparse"] = "softmax"
    contrast: Literal["softmax", "sigmoid"] = "softmax"
    learn_temperature: bool = False
    chunk: int = 16


class Matching(Objective):
    """The current temperatures and grouping.

    Args:
        options: of the objective.

    Raises:
        UserError: settings out of range, or that do not work together.
    """

    trains = ("image", "text")

    def __init__(self, options: MatchingOptions) -> None:
        super().__init__()
        expect(options.temperature > 0, "temperature of local alignment", options.temperature, "more than 0")
        own = options.attention_temperature
        expect(own is None or own > 0, "attention_temperature of local alignment", own, "more than 0, or null")
        if options.grouping == "sparse" and own is not None:
            raise UserError(
                f"model.objectives.local_alignment.attention_temperature is {own}, but grouping: sparse has no "
                "temperature; leave it out, or set grouping to softmax"
            )
        self.fixed, self.own_attention, self.chunk = options.temperature, own, options.chunk
        self.sparse = options.grouping == "sparse"
        self.log_scale: nn.Parameter | None = None
        self.bias: nn.Parameter | None = None
        if options.learn_temperature:
            self.log_scale = nn.Parameter(torch.tensor(math.log(1 / options.temperature)))
        if options.contrast == "sigmoid":
            self.bias = nn.Parameter(torch.tensor(-10.0))  # almost all pairs are negatives

    @property
    def temperature(self) -> float | Tensor:
        """Current τ_l of the contrast."""
        return self.fixed if self.log_scale is None else (-bounded(self.log_scale)).exp()

    @property
    def attention_temperature(self) -> float | Tensor:
        """Current temperature of the softmax over the patches."""
        return self.temperature if self.own_attention is None else self.own_attention

    @property
    def grouping(self) -> Grouping:
        """Weights of the patches for a query."""
        return sparse_grouping if self.sparse else softmax_grouping(self.attention_temperature)
