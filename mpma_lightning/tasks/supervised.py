"""SupervisedTask: a task whose metrics and predictions need a trained head."""

from typing import Any

from data_modules.errors import UserError
from mpma_lightning.tasks.base import Task


class SupervisedTask(Task):
    """Evaluates and predicts with a trained head only; ``frozen`` keeps the backbone as it is, in eval mode.

    Weights of a head come with ``ckpt_path``; ``checkpoint`` brings those of the backbone.
    """

    frozen = False
    head_title = ""
    """The head, in words; empty: that of the task's class."""

    def __init__(self, **common: Any) -> None:
        super().__init__(**common)
        self.trained = False

    def freeze_backbone(self) -> None:
        """Keep the backbone as it is, where the task is ``frozen``."""
        if self.frozen:
            self.backbone.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "SupervisedTask":
        """A frozen backbone stays in eval mode."""
        super().train(mode)
        if self._built and self.frozen:
            self.backbone.eval()
        return self

    def on_validation_start(self) -> None:
        if self.trainer.state.fn != "fit":
            self.on_test_start()

    def on_test_start(self) -> None:
        self.refuse_untrained()

    def on_predict_start(self) -> None:
        self.refuse_untrained()

    def refuse_untrained(self) -> None:
        """UserError unless the head's weights came with a checkpoint or were trained in this run."""
        if not self.trained:
            raise UserError(
                f"{self.trainer.state.fn}: the {self.head_title or f'head of {type(self).__name__}'} is not trained; "
                "give --ckpt_path best, last or a file of a fit (model.checkpoint brings the backbone only)"
            )
