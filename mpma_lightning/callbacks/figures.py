"""Figures of the first validation or test batch, in TensorBoard and as PNG files in the run folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure

from data_modules.files import whole_file
from mpma_lightning.callbacks.evaluation_batches import EvaluationBatches
from mpma_lightning.tasks.base import Task


class Figures(EvaluationBatches):
    """``pictures/<name>.png``, whatever the task draws of the first batch and at the end of each validation and test;
    rank 0 only, always on but under ``fast_dev_run``.

    The files show images and texts of the data in use: they stay under its terms of use.

    Args:
        samples: rows or samples in each figure; None: as many as the task likes.
    """

    def __init__(self, samples: int | None = None) -> None:
        self.samples = samples

    @torch.no_grad()
    def on_evaluation_batch_end(
        self, trainer: Trainer, task: LightningModule, outputs: Any, batch: Any, batch_idx: int, stage: str
    ) -> None:
        if batch_idx == 0 and _draws(trainer):
            assert isinstance(task, Task)
            keep(trainer, task.figures(batch, outputs, stage, self.samples or task.figure_samples))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end(trainer, pl_module, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end(trainer, pl_module, "test")

    def _end(self, trainer: Trainer, task: LightningModule, stage: str) -> None:
        if _draws(trainer):
            assert isinstance(task, Task)
            keep(trainer, task.epoch_figures(stage, self.samples or task.figure_samples))


def _draws(trainer: Trainer) -> bool:
    quiet = trainer.sanity_checking or trainer.fast_dev_run  # type: ignore[attr-defined]
    return trainer.is_global_zero and not quiet


def keep(trainer: Trainer, figures: Mapping[str, Figure]) -> None:
    """Into the run folder's ``pictures/`` as PNG, and into TensorBoard."""
    for name, figure in figures.items():
        with whole_file(Path(trainer.default_root_dir, "pictures", f"{name}.png")) as partial:
            figure.savefig(partial, dpi=110, format="png")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_figure(f"pictures/{name}", figure, trainer.global_step)
