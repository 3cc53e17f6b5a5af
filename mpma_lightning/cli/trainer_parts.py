"""What the command line adds to the trainer of a config and removes from it, and what its errors ask for."""

from collections.abc import Sequence
from typing import Any

from jsonargparse import Namespace
from lightning.fabric.plugins import CheckpointIO, ClusterEnvironment
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import TensorBoardLogger

from data_modules.errors import UserError
from mpma_lightning.callbacks.progress import progress
from mpma_lightning.runs.checkpoints import AtomicCheckpointIO
from mpma_lightning.runs.event_files import EventFiles


def listed(given: Any) -> list[Any]:
    """``given``, which may be one object, a list or None, as a list."""
    return given if isinstance(given, list) else [] if given is None else [given]


def plugins_for(given: Any) -> list[Any]:
    """``given``, checkpoints that are written completely or not at all, and SLURM without Lightning's re-queue.

    Lightning's re-queue writes ``hpc_ckpt_*.ckpt`` from a signal handler in the middle of a step, and later loads it
    even where ``last.ckpt`` is newer.
    """
    plugins = listed(given)
    if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        plugins.append(AtomicCheckpointIO())
    if not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins) and SLURMEnvironment.detect():
        plugins.append(SLURMEnvironment(auto_requeue=False))
    return plugins


def remove_callbacks_without_use(trainer: Namespace) -> None:
    """Remove callbacks of defaults.yaml that Lightning refuses where logger or checkpoints are switched off."""
    gone = {
        "LearningRateMonitor": trainer.logger is False,
        "ModelCheckpoint": trainer.enable_checkpointing is False or trainer.fast_dev_run,
    }
    if isinstance(trainer.callbacks, list):
        trainer.callbacks = [it for it in trainer.callbacks if not gone.get(it.class_path.rpartition(".")[2])]


def progress_for(trainer: Namespace, callbacks: Sequence[Callback]) -> list[Callback]:
    """A bar on a terminal, lines elsewhere; nothing where the config has one, or wants none."""
    given = any(isinstance(callback, ProgressBar) for callback in callbacks)
    return [] if given or trainer.enable_progress_bar is False or trainer.fast_dev_run else [progress()]


def loggers_for(given: Any) -> Any:
    """``given``, with :class:`EventFiles` in the place of Lightning's own loggers to TensorBoard."""
    if not isinstance(given, list | TensorBoardLogger):
        return given
    return [EventFiles.like(one) if type(one) is TensorBoardLogger else one for one in listed(given)]


def refuse_half_on_cpu(trainer: Trainer, settings: Namespace) -> None:
    """UserError for fp16 on a CPU: Lightning would take another precision, or fail in the first convolution."""
    asked = str(settings.precision)
    if trainer.strategy.root_device.type == "cpu" and asked in ("16", "16-mixed", "16-true"):
        raise UserError(
            f"trainer.precision {asked} (fp16) needs a GPU, and this command runs on a CPU: give --trainer.precision "
            "bf16-mixed or 32-true"
        )


def remedy(trainer: Namespace, message: str) -> str:
    """What to do about an error of Lightning that asks for a device that is not there."""
    wanted = str(trainer.accelerator)
    if wanted in ("gpu", "cuda", "mps") and ("found" in message or "can not run on your system" in message):
        return f". This machine has no {wanted} that torch can use: give --trainer.accelerator cpu, or auto"
    return ""
