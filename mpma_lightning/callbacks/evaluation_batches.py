"""Base class of callbacks that treat validation and test batches alike."""

from typing import Any

from lightning import Callback, LightningModule, Trainer


class EvaluationBatches(Callback):
    """Calls :meth:`on_evaluation_batch_end` after every validation and test batch."""

    def on_evaluation_batch_end(
        self, trainer: Trainer, task: LightningModule, outputs: Any, batch: Any, batch_idx: int, stage: str
    ) -> None:
        """To be overridden; ``stage`` is val or test. Also called in Lightning's sanity check."""
        raise NotImplementedError

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.on_evaluation_batch_end(trainer, pl_module, outputs, batch, batch_idx, "val")

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.on_evaluation_batch_end(trainer, pl_module, outputs, batch, batch_idx, "test")
