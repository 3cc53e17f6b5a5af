"""Writes predictions to the run folder, in the format of the task."""

from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from data_modules.errors import UserError
from mpma_lightning.evaluation.epoch import gather_objects
from mpma_lightning.predictions import PredictionWriter
from mpma_lightning.tasks.base import Task


class Predictions(Callback):
    """Writes features, scores, answers, boxes, masks or maps; always on in ``predict``.

    Args:
        file: name of the file or folder in the run folder; None: the task's default, such as ``scores.parquet``. For
            features and scores the ending sets the format: ``.parquet``, ``.arrow`` or ``.safetensors``.
        to: the format of another program, as ``predict --to``; None: the task's own.
    """

    def __init__(self, file: str | None = None, to: str | None = None) -> None:
        self.file, self.to = file, to

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the writer; UserError before the first batch where predictions cannot be written."""
        assert isinstance(pl_module, Task)
        self.writer: PredictionWriter = self._writer(pl_module)
        self.writer.file = self.file or self.writer.file
        loader: Any = trainer.predict_dataloaders
        self.writer.begin(Path(trainer.default_root_dir), loader.dataset.table.column("id").to_pylist())

    def _writer(self, task: Task) -> PredictionWriter:
        if self.to is None:
            return task.prediction_writer()
        if self.to not in task.prediction_formats:
            offered = ", ".join(task.prediction_formats) or "none"
            raise UserError(
                f"found predict --to {self.to}, expected a format that {type(task).__name__} writes: {offered}"
            )
        return task.exporter(self.to)

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any, **__: Any
    ) -> None:
        self.writer.add(outputs)

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        ranks = gather_objects(self.writer.rows)
        if trainer.is_global_zero:
            rank_zero_info(self.writer.write([row for rank in ranks for row in rank]))
