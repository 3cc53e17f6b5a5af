"""Objective: one loss of pre-training, as a sum and a count."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from mpma_lightning.backbones import Backbone, Features

if TYPE_CHECKING:
    from mpma_lightning.objectives.state import PretrainingState


@dataclass
class ObjectiveOptions:
    """Options of one objective. A weight of 0 switches it off: nothing of it, and no part that only it needs, is built.

    Attributes:
        weight: λ of the objective in the total loss.
    """

    weight: float = 1.0

    needs: ClassVar[tuple[str, ...]] = ()
    masks: ClassVar[bool] = False
    """Whether it needs a masked input; without any such objective nothing is masked."""

    def build(self, backbone: Backbone) -> "Objective":
        """The module, once the backbone it reads is known."""
        raise NotImplementedError


class Objective(nn.Module):
    """``forward(state)`` returns (sum, count) in float32 (float64 stays); the task divides by the count over all ranks.

    ``trains`` names the encoders whose features must receive a gradient; a configured loss that gives
    none is an error.
    """

    trains: tuple[str, ...] = ()

    def forward(self, state: "PretrainingState") -> tuple[Tensor, Tensor]:
        """Sum over what the loss is an average of, and how many there are."""
        raise NotImplementedError

    def reads(self, state: "PretrainingState", part: str) -> Features:
        """The features of ``part`` (``image`` or ``text``) through which this objective trains that encoder."""
        return state.image_features if part == "image" else state.text_features

    def monitor(self, state: "PretrainingState") -> dict[str, tuple[Tensor, Tensor]]:
        """Further (sum, count) figures worth logging; no gradient is taken."""
        return {}
