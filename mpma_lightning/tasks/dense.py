"""What segmentation and detection share: maps of the image encoder, a frozen encoder, and an untrained head refused."""

from typing import Any

import torch
from torch import Tensor

from mpma_lightning.errors import UserError
from mpma_lightning.tasks.base import Task

HEAD = "head."


class DenseTask(Task):
    """A head on feature maps; ``frozen`` keeps the encoder as it is, in eval mode."""

    frozen = False
    trained = False

    @property
    def parts(self) -> tuple[str, ...]:
        return ("image",)

    def freeze_encoder(self) -> None:
        """Where the protocol says so."""
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

    def on_validation_start(self) -> None:
        if self.trainer.state.fn != "fit":
            self._refuse_untrained()

    def on_test_start(self) -> None:
        self._refuse_untrained()

    def on_predict_start(self) -> None:
        self._refuse_untrained()

    def _refuse_untrained(self) -> None:
        if not self.trained:
            raise UserError(
                f"{self.trainer.state.fn}: the head of {type(self).__name__} is not trained; give --ckpt_path best, "
                "last or a file of a fit (model.checkpoint brings the backbone only)"
            )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        theirs = checkpoint["mpma"]["task"]
        if theirs != type(self).__name__:
            raise UserError(
                f"ckpt_path {self.trainer.ckpt_path} is of a {theirs}; fit a {type(self).__name__} first, starting "
                f"from --model.checkpoint {self.trainer.ckpt_path}"
            )
        self.trained = True
