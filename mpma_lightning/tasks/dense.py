"""What segmentation and detection share: maps of the encoder, a frozen encoder, and what a trained head knows."""

from typing import Any

import torch
from torch import Tensor

from data_modules.errors import UserError
from data_modules.index.labels import same_class
from mpma_lightning.backbones.checkpoint import CARGO
from mpma_lightning.tasks.base import Task

STRUCTURES = "structures"
"""Key of the names a head finds in a checkpoint."""


class DenseTask(Task):
    """A head on feature maps; ``frozen`` keeps the encoder as it is, in eval mode.

    The names of what is drawn come from the data, and with ``ckpt_path`` from the checkpoint; ``validate`` and ``test``
    score those that both know.
    """

    frozen = False
    trained = False
    kind = ""
    """What the data must have, in words."""

    @property
    def parts(self) -> tuple[str, ...]:
        return ("image",)

    def annotated(self) -> list[str]:
        """Names of what the data have drawn."""
        raise NotImplementedError

    def build_head(self) -> None:
        """``self.head`` for ``self.classes``; called again when a checkpoint knows others."""
        raise NotImplementedError

    def build_heads(self) -> None:
        self.classes = self.annotated()
        if not self.classes and self.trainer.state.fn != "predict":
            name = self.data_spec.name
            raise UserError(f"{name} has no {self.kind}; choose a data set with {self.kind}")
        self.build_head()
        if self.frozen:
            self.backbone.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "DenseTask":
        """A frozen backbone stays in eval mode."""
        super().train(mode)
        if self._built and self.frozen:
            self.backbone.eval()
        return self

    def maps(self, image: Tensor, levels: tuple[int, ...]) -> list[Tensor]:
        """Feature maps of the encoder's ``levels``."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.backbone.image(image, levels=levels).levels

    def shared(self) -> dict[int, int]:
        """Place among the data's names -> place among the head's, of those that both know."""
        theirs = self.annotated()
        names = [same_class(name, theirs) for name in self.classes]
        return {theirs.index(name): place for place, name in enumerate(names) if name}

    def on_validation_start(self) -> None:
        if self.trainer.state.fn != "fit":
            self.on_test_start()

    def on_test_start(self) -> None:
        self.on_predict_start()
        if not self.shared():
            spec = self.data_spec
            raise UserError(
                f"{spec.name} has {', '.join(self.annotated())} drawn, the checkpoint's head finds "
                f"{', '.join(self.classes)}: none in common; choose data that it was trained for"
            )

    def on_predict_start(self) -> None:
        if not self.trained:
            raise UserError(
                f"{self.trainer.state.fn}: the head of {type(self).__name__} is not trained; give --ckpt_path best, "
                "last or a file of a fit (model.checkpoint brings the backbone only)"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint[STRUCTURES] = self.classes

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        path, theirs = self.trainer.ckpt_path, checkpoint[CARGO]["task"]
        if theirs != type(self).__name__:
            raise UserError(
                f"ckpt_path {path} is of a {theirs}; fit a {type(self).__name__} first, starting from "
                f"--model.checkpoint {path}"
            )
        names = list(checkpoint[STRUCTURES])
        if self.trainer.state.fn == "fit" and names != self.classes:
            raise UserError(
                f"ckpt_path {path} was trained on {', '.join(names)}, the data have {', '.join(self.classes)} drawn; "
                "continue with the same data, or start a new run"
            )
        if names != self.classes:
            self.classes = names
            self.build_head()
        self.trained = True
