"""Objective: one loss of pre-training, as a sum and a count."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from mpma_lightning.backbones import Backbone, Features

if TYPE_CHECKING:
    from mpma_lightning.objectives.state import PretrainingState


@dataclass
class ObjectiveOptions:
    """Options of one objective. With weight 0, neither it nor parts of the backbone that only it needs are built.

    Attributes:
        weight: λ of the objective in the total loss.
    """

    weight: float = 1.0

    needs: ClassVar[tuple[str, ...]] = ()
    masks: ClassVar[bool] = False
    """Whether it reads masked inputs; inputs are masked only if some objective does."""

    def build(self, backbone: Backbone) -> "Objective":
        """The objective for a backbone."""
        raise NotImplementedError


class Objective(nn.Module):
    """``forward(state)`` returns (sum, count), at least in float32; the task divides by the count over all ranks.

    ``trains``: encoders whose features must receive a gradient; the run stops if they do not.
    """

    trains: tuple[str, ...] = ()

    def forward(self, state: "PretrainingState") -> tuple[Tensor, Tensor]:
        """Sum of the loss over its terms, and the number of terms."""
        raise NotImplementedError

    def reads(self, state: "PretrainingState", part: str) -> Features:
        """The features of ``part`` (``image`` or ``text``) through which this objective trains that encoder."""
        return state.aligned_image if part == "image" else state.aligned_text

    def monitor(self, state: "PretrainingState") -> dict[str, tuple[Tensor, Tensor]]:
        """Further metrics to log, as (sum, count); computed without gradient."""
        return {}
