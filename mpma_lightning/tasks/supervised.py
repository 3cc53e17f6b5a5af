"""SupervisedTask: a task whose metrics and predictions need a trained head."""

from typing import Any

from data_modules.errors import UserError
from mpma_lightning.tasks.base import Task


class SupervisedTask(Task):
    """Refuses to evaluate or predict with a head that was not trained.

    ``checkpoint`` only initialises the backbone; the weights of a trained head come with ``ckpt_path``.
    """

    frozen = False
    """Whether the backbone is not trained; it then stays in evaluation mode."""
    head_title = ""
    """Name of the head in messages; empty: derived from the class."""

    def __init__(self, **common: Any) -> None:
        super().__init__(**common)
        self.trained = False

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
        """Raise UserError unless the head was trained in this run or loaded by ``ckpt_path``."""
        if not self.trained:
            raise UserError(
                f"the {self.head_title or f'head of {type(self).__name__}'} is not trained; give --ckpt_path FILE of a "
                "fit, or run fit first (model.checkpoint brings the backbone only)"
            )
