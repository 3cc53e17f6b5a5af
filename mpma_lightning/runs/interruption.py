"""Ctrl-C and SIGTERM end a training after the step, with a checkpoint of it."""

import signal
import threading
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.exceptions import SIGTERMException

Handler = Any
"""What :func:`signal.signal` returns."""


class Interruption(Callback):
    """The first Ctrl-C ends ``fit`` after the current step, and after the validation that is due there, with
    ``last.ckpt`` of that step; a second one ends it at once. SIGTERM saves the step, too; Lightning then ends the run.

    All processes of a run stop at the same step, also where only one of them was asked to.
    """

    def __init__(self) -> None:
        self._asked = self._validated = False
        self._saved = -1
        self._before: Handler = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._asked = self._validated = False
        self._saved = trainer.global_step
        ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # as of a command that a script starts by `&`
        if not ignored and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._ask)

    def _ask(self, number: int, frame: Any) -> None:
        self._restore()  # the next one ends the run at once
        self._asked = True
        rank_zero_info("\nCtrl-C: the run ends after this step, with a checkpoint; once more: at once, without one")

    def _restore(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validated = self._asked

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        wanted = self._asked or trainer.received_sigterm
        if trainer.world_size > 1:
            wanted = trainer.strategy.reduce_boolean_decision(wanted, all=False)
        loop, fetcher = trainer.fit_loop.epoch_loop, trainer.fit_loop._data_fetcher
        done = trainer.global_step >= trainer.estimated_stepping_batches
        if not wanted or loop._should_accumulate() or done or fetcher is None:
            return
        if loop._should_check_val_fx(fetcher) and not self._validated:
            return  # a run that is continued from here would leave this validation out
        self._save(trainer)
        if not trainer.received_sigterm:
            raise KeyboardInterrupt(f"saved at step {trainer.global_step:,}; ")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore()
        if isinstance(exception, SIGTERMException) and trainer.global_step > self._saved:
            self._save(trainer)  # of a step at which a validation was due

    def _save(self, trainer: Trainer) -> None:
        save_last(trainer)
        self._saved = trainer.global_step


def save_last(trainer: Trainer) -> None:
    """Save ``last.ckpt`` of each ``ModelCheckpoint`` that keeps one."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.save_last and callback.dirpath:
            name = f"{callback.CHECKPOINT_NAME_LAST}{callback.FILE_EXTENSION}"
            trainer.save_checkpoint(Path(callback.dirpath, name), weights_only=callback.save_weights_only)
