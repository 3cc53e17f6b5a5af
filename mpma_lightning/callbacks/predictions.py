"""Writes predictions to the run folder, in the format of the task."""

from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from mpma_lightning.evaluation.epoch import gather_objects
from mpma_lightning.predictions import PredictionWriter
from mpma_lightning.tasks.base import Task


class Predictions(Callback):
    """Writes features, scores, answers, boxes, masks or maps; always on in ``predict``.

    Args:
        file: name of the file or folder in the run folder; None: the task's default, such as ``scores.parquet``. For
            features and scores the ending sets the format: ``.parquet``, ``.arrow`` or ``.safetensors``.
    """

    def __init__(self, file: str | None = None) -> None:
        self.file = file

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the writer; UserError before the first batch where predictions cannot be written."""
        assert isinstance(pl_module, Task)
        self.writer: PredictionWriter = pl_module.prediction_writer()
        self.writer.file = self.file or self.writer.file
        loader: Any = trainer.predict_dataloaders
        self.writer.begin(Path(trainer.default_root_dir), loader.dataset.table.column("id").to_pylist())

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any, **__: Any
    ) -> None:
        self.writer.add(outputs)

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        ranks = gather_objects(self.writer.rows)
        if trainer.is_global_zero:
            rank_zero_info(self.writer.write([row for rank in ranks for row in rank]))
