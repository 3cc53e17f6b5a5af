"""Progress of a command: a bar on a terminal, a line now and then in a log."""

import math
import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar
from lightning.pytorch.utilities import rank_zero_info
from rich import get_console

SECONDS = 30.0
"""A line comes after so many seconds,"""
PARTS = 10
"""or after such a part of the whole, whichever is earlier."""


def progress() -> ProgressBar:
    """What suits the standard output of this process."""
    return Bar() if get_console().is_terminal else Lines()


class Bar(RichProgressBar):
    """Lightning's bar, which counts steps where the run has no number of epochs. It reads the metrics once a second,
    as reading waits for the device."""

    _read = -math.inf

    def _update_metrics(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if time.monotonic() - self._read >= 1:
            self._read = time.monotonic()
            super()._update_metrics(trainer, pl_module)

    def _get_train_description(self, current_epoch: int) -> str:
        of = f"/{self.trainer.max_epochs}" if (self.trainer.max_epochs or -1) > 0 else ""
        steps = f", to step {self.trainer.max_steps:,}" if self.trainer.max_steps > 0 else ""
        return f"Epoch {current_epoch + 1}{of}{steps}"


class Lines(ProgressBar):
    """Lines for log files: ``step 40/700, epoch 2: loss 6.31, 41.2 samples/s, 12 min left``.

    Args:
        seconds: most seconds between two lines while batches are computed; a tenth of the run gives a line, too.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        super().__init__()
        self.seconds = seconds
        self._enabled = True
        self._begin()

    def _begin(self, done: int = 0) -> None:
        now = time.monotonic()
        self._since, self._first = now, done
        self._told, self._told_at = now, done
        self._samples = 0

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        total, step, word = trainer.estimated_stepping_batches, trainer.global_step, "step"
        if not trainer.optimizers:  # such as a linear probe, which encodes once
            total, step, word = trainer.num_training_batches, batch_idx + 1, "batch"
        self._count(trainer, batch)
        if step == self._told_at or not self._due(step, total, first=step == self._first + 1):
            return
        loss = trainer.callback_metrics.get("train/loss")
        said = "" if loss is None else f"loss {float(loss):#.3g}, "
        epoch = f", epoch {trainer.current_epoch + 1}" if trainer.num_training_batches > 1 else ""
        self._say(f"{word} {step:,}/{total:,.0f}{epoch}", said, step, total)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking and self._enabled:
            found = trainer.callback_metrics
            monitor = getattr(getattr(pl_module, "monitor", None), "name", "loss")
            names = [name for name in dict.fromkeys(("val/loss", f"val/{monitor}")) if name in found]
            shown = ", ".join(f"{name} {float(found[name]):#.3g}" for name in names)
            rank_zero_info(f"step {trainer.global_step:,}: {shown or 'validated'}")
            self._told, self._samples = time.monotonic(), 0  # the speed is that of training

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin()

    def on_test_batch_end(
        self, trainer: Any, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any, **__: Any
    ) -> None:
        command, done = trainer.state.fn.value, batch_idx + 1
        if command == "fit":  # a validation within it; its end is told
            return
        of = {"validate": trainer.num_val_batches, "test": trainer.num_test_batches}
        total = sum(of.get(command, trainer.num_predict_batches))
        self._count(trainer, batch)
        if self._due(done, total, first=False):
            self._say(f"{command}: batch {done:,}/{total:,.0f}", "", done, total)

    on_predict_start = on_test_start
    on_validation_batch_end = on_predict_batch_end = on_test_batch_end

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit":
            self._begin()

    def _count(self, trainer: Trainer, batch: Any) -> None:
        self._samples += len(batch["id"]) * trainer.world_size if isinstance(batch, dict) and "id" in batch else 0

    def _due(self, done: int, total: float, first: bool) -> bool:
        waited = time.monotonic() - self._told >= self.seconds
        return self._enabled and (first or waited or done >= total or done - self._told_at >= max(1, total / PARTS))

    def _say(self, place: str, said: str, done: int, total: float) -> None:
        now = time.monotonic()
        speed = f"{self._samples / max(now - self._told, 1e-9):.3g} samples/s, " if self._samples else ""
        left = (now - self._since) / max(done - self._first, 1) * (total - done)
        rank_zero_info(f"{place}: {said}{speed}{duration(left)} left")
        self._told, self._told_at, self._samples = now, done, 0


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
