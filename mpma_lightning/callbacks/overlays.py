"""Annotations beside predictions on the first validation or test batch, in TensorBoard and as a PNG file."""

from typing import Any

from lightning import Callback, LightningModule, Trainer

from mpma_lightning.callbacks.pictures import keep


class Overlays(Callback):
    """``pictures/<stage>_overlay.png`` in the run folder; rank 0 only. The file shows images of the data in use.

    Args:
        samples: in the picture.
    """

    def __init__(self, samples: int = 6) -> None:
        self.samples = samples

    def _draw(self, trainer: Trainer, task: Any, outputs: Any, batch: Any, batch_idx: int, stage: str) -> None:
        if batch_idx == 0 and trainer.is_global_zero and not trainer.sanity_checking:
            keep(trainer, f"{stage}_overlay", task.overlay(batch, outputs, self.samples))

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._draw(trainer, pl_module, outputs, batch, batch_idx, "val")

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._draw(trainer, pl_module, outputs, batch, batch_idx, "test")
