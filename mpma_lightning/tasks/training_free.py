"""TrainingFreeTask: evaluates the weights of a pre-training as they are."""

from typing import Any

from data_modules.errors import UserError
from mpma_lightning.tasks.base import Task


class TrainingFreeTask(Task):
    """``test`` and ``predict`` only, with the weights of ``checkpoint``; ``checkpoint_parts: []`` keeps random ones."""

    def __init__(self, **common: Any) -> None:
        super().__init__(optim=None, **common)

    def on_fit_start(self) -> None:
        raise UserError(f"{type(self).__name__} trains nothing; run `test` or `predict`")

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        raise UserError(
            f"{type(self).__name__} cannot continue a run (ckpt_path); give the weights as --model.checkpoint"
        )

    def result_entries(self) -> dict[str, Any]:
        return {"label_fraction": 0.0}
