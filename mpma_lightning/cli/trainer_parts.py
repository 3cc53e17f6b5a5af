"""What the command line adds to the trainer of a config, and what it leaves out."""

from typing import Any

from jsonargparse import Namespace
from lightning.fabric.plugins import CheckpointIO, ClusterEnvironment
from lightning.fabric.plugins.environments import SLURMEnvironment

from mpma_lightning.runs.checkpoints import AtomicCheckpointIO


def listed(given: Any) -> list[Any]:
    """Lightning takes one, several or none."""
    return given if isinstance(given, list) else [] if given is None else [given]


def plugins_for(given: Any) -> list[Any]:
    """``given``, whole checkpoints, and under SLURM no re-queue by lightning, whose ``hpc_ckpt_*.ckpt`` is written from
    a signal handler in mid-step and wins over a newer ``last.ckpt`` ever after."""
    plugins = listed(given)
    if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        plugins.append(AtomicCheckpointIO())
    if not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins) and SLURMEnvironment.detect():
        plugins.append(SLURMEnvironment(auto_requeue=False))
    return plugins


def leave_out_what_is_switched_off(trainer: Namespace) -> None:
    """Without a logger or checkpoints, Lightning refuses the callbacks of defaults.yaml that serve them."""
    gone = {
        "LearningRateMonitor": trainer.logger is False,
        "ModelCheckpoint": trainer.enable_checkpointing is False or trainer.fast_dev_run,
    }
    if isinstance(trainer.callbacks, list):
        trainer.callbacks = [it for it in trainer.callbacks if not gone.get(it.class_path.rpartition(".")[2])]
