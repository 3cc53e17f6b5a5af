"""Plugins that the command line adds to the trainer of a config, and callbacks that it removes."""

from typing import Any

from jsonargparse import Namespace
from lightning.fabric.plugins import CheckpointIO, ClusterEnvironment
from lightning.fabric.plugins.environments import SLURMEnvironment

from mpma_lightning.runs.checkpoints import AtomicCheckpointIO


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
