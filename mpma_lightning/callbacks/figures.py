"""Figures of a validation or test batch, as PNG files in the run folder and in the loggers."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from matplotlib.figure import Figure

from data_modules.errors import UserError
from data_modules.files import whole_file
from mpma_lightning.callbacks.picture_loggers import hand_over, sends_away
from mpma_lightning.tasks.base import Task


class Figures(Callback):
    """Writes the task's figures of the first batch that has what they show, such as films with the structure, and
    those of the whole split, of each validation and test to ``pictures/<name>.png``: on rank 0, in every run but one
    with ``fast_dev_run``. While ``fit`` goes on, validations are left out that come so soon that drawing would take
    more than a tenth of the time; the last one is drawn.

    The files show images and texts of the data in use: they stay under its terms of use. Loggers that keep them on this
    machine get them too (TensorBoard, MLflow with a folder); one that sends them to a server only with ``send``.

    Args:
        samples: samples in each figure; None: the number that the task sets.
        extra: further figures of the batch, drawn only when named: ``slots`` of pre-training shows the words and image
            regions that each memory slot serves most.
        send: also give the pictures to loggers that send them to a server: W&B, MLflow with a server.
    """

    def __init__(self, samples: int | None = None, extra: Sequence[str] = (), send: bool = False) -> None:
        self.samples, self.extra, self.send = samples, tuple(extra), send
        self.drawn, self.due = False, True  # a batch of this validation or test
        self.told: set[str] = set()
        self.seconds, self.finished = 0.0, -float("inf")  # the last drawing took so long, and ended then

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """UserError for an extra figure that the task does not have."""
        known = pl_module.extra_figures if isinstance(pl_module, Task) else ()
        for name in self.extra:
            if name not in known:
                offered = f"has {', '.join(known)}" if known else "has none"
                raise UserError(f"found figure {name!r} in extra of Figures; {type(pl_module).__name__} {offered}")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.drawn, self.due = False, self._is_due(trainer)
        self.seconds = 0.0 if self.due else self.seconds

    def _is_due(self, trainer: Trainer) -> bool:
        last = trainer.state.fn != "fit" or trainer.global_step >= trainer.estimated_stepping_batches
        return last or time.monotonic() - self.finished >= 10 * self.seconds

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any, **__: Any
    ) -> None:
        if self.drawn or not isinstance(pl_module, Task) or not pl_module.shows_annotation(batch):
            return
        self.drawn = True
        self._keep(trainer, pl_module, lambda task, *which: task.figures(batch, outputs, *which))
        for name in self.extra:
            self._keep(trainer, pl_module, partial(_extra, name, batch, outputs))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._keep(trainer, pl_module, lambda task, *which: task.epoch_figures(*which))

    on_test_start = on_validation_start
    on_test_batch_end, on_test_end = on_validation_batch_end, on_validation_end

    @torch.no_grad()
    def _keep(self, trainer: Trainer, task: LightningModule, draw: Callable[..., Mapping[str, Figure]]) -> None:
        """Write what ``draw(task, stage, samples)`` returns; where that fails, warn and let the run continue."""
        if not trainer.is_global_zero or trainer.sanity_checking or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        if not self.due or not isinstance(task, Task):
            return
        begun = time.monotonic()
        try:
            self._write(trainer, draw(task, "test" if trainer.testing else "val", self.samples or task.figure_samples))
        except Exception as error:
            rank_zero_warn(f"no figures at step {trainer.global_step}: {type(error).__name__}: {error}")
        self.finished = time.monotonic()
        self.seconds += self.finished - begun

    def _write(self, trainer: Trainer, figures: Mapping[str, Figure]) -> None:
        """Figures to ``pictures/`` of the run folder, and to the loggers that may have them."""
        folder = Path(trainer.default_root_dir, "pictures")
        for name, figure in figures.items():
            with whole_file(folder / f"{name}.png") as unfinished:
                figure.savefig(unfinished, dpi=110, format="png")
            for logger in trainer.loggers:
                if self.send or not sends_away(logger):
                    hand_over(logger, name, folder / f"{name}.png", trainer.global_step)
                elif (kind := type(logger).__name__) not in self.told:
                    self.told.add(kind)
                    rank_zero_info(
                        f"pictures stay in {folder}: {kind} sends to a server; Figures with `send: true` allows it"
                    )


def _extra(name: str, batch: Any, outputs: Any, task: Task, stage: str, count: int) -> Mapping[str, Figure]:
    return task.extra_figure(name, batch, outputs, count)
