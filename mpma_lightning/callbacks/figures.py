"""Figures of the first validation or test batch, in TensorBoard and as PNG files in the run folder."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_warn
from matplotlib.figure import Figure

from data_modules.files import whole_file
from mpma_lightning.callbacks.evaluation_batches import EvaluationBatches
from mpma_lightning.tasks.base import Task


class Figures(EvaluationBatches):
    """Writes the task's figures of the first batch, and those of the whole split, of each validation and test to
    ``pictures/<name>.png``: on rank 0, in every run but one with ``fast_dev_run``.

    The files show images and texts of the data in use: they stay under its terms of use.

    Args:
        samples: samples in each figure; None: the number that the task sets.
    """

    def __init__(self, samples: int | None = None) -> None:
        self.samples = samples

    def on_evaluation_batch_end(
        self, trainer: Trainer, task: LightningModule, outputs: Any, batch: Any, batch_idx: int, stage: str
    ) -> None:
        assert isinstance(task, Task)
        if batch_idx == 0:
            self._keep(trainer, partial(task.figures, batch, outputs, stage, self.samples or task.figure_samples))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end(trainer, pl_module, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end(trainer, pl_module, "test")

    def _end(self, trainer: Trainer, task: LightningModule, stage: str) -> None:
        assert isinstance(task, Task)
        self._keep(trainer, partial(task.epoch_figures, stage, self.samples or task.figure_samples))

    @torch.no_grad()
    def _keep(self, trainer: Trainer, draw: Callable[[], Mapping[str, Figure]]) -> None:
        """Draw and keep the figures; where that fails, the run continues without them, with a warning."""
        if not trainer.is_global_zero or trainer.sanity_checking or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        try:
            keep(trainer, draw())
        except Exception as error:
            rank_zero_warn(f"no figures at step {trainer.global_step}: {type(error).__name__}: {error}")


def keep(trainer: Trainer, figures: Mapping[str, Figure]) -> None:
    """Write figures to ``pictures/`` of the run folder as PNG, and to TensorBoard."""
    for name, figure in figures.items():
        with whole_file(Path(trainer.default_root_dir, "pictures", f"{name}.png")) as partial:
            figure.savefig(partial, dpi=110, format="png")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_figure(f"pictures/{name}", figure, trainer.global_step)
