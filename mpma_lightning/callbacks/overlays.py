"""Annotations beside predictions on the first validation or test batch, in TensorBoard and as a PNG file."""

from typing import Any

from lightning import Trainer

from mpma_lightning.callbacks.evaluation_batches import EvaluationBatches
from mpma_lightning.callbacks.pictures import keep


class Overlays(EvaluationBatches):
    """``pictures/<stage>_overlay.png`` in the run folder; rank 0 only. The file shows images of the data in use.

    Args:
        samples: in the picture.
    """

    def __init__(self, samples: int = 6) -> None:
        self.samples = samples

    def on_evaluation_batch_end(
        self, trainer: Trainer, task: Any, outputs: Any, batch: Any, batch_idx: int, stage: str
    ) -> None:
        if batch_idx == 0 and trainer.is_global_zero and not trainer.sanity_checking:
            keep(trainer, f"{stage}_overlay", task.overlay(batch, outputs, self.samples))
