"""The callbacks of every run: outlook, result record, predictions, figures, online evaluation, best checkpoint."""

from collections.abc import Sequence

from lightning import Callback, LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint

from mpma_lightning.callbacks.figures import Figures
from mpma_lightning.callbacks.outlook import Outlook
from mpma_lightning.callbacks.paired_evaluation import PairedEvaluation
from mpma_lightning.callbacks.place_evaluation import PlaceEvaluation
from mpma_lightning.callbacks.predictions import Predictions
from mpma_lightning.runs.result import ResultRecord
from mpma_lightning.runs.split_of_weights import SplitOfWeights
from mpma_lightning.tasks.base import Task
from mpma_lightning.tasks.pretraining import PretrainingTask


def always_on(task: LightningModule, given: Sequence[Callback], checkpoints: str | None) -> list[Callback]:
    """``given`` and the callbacks that every run has, among them one that keeps ``best.ckpt``, the checkpoint with the
    best validation value of ``task.monitor``. A callback of ``given`` replaces the one of its class, and a
    ``ModelCheckpoint`` with a ``monitor`` replaces that of ``best.ckpt``.

    Args:
        task: of the run; for a module that is no :class:`Task` nothing is added.
        given: the callbacks that the config names.
        checkpoints: folder of ``best.ckpt``; None: keep none, as in a fit without validation.
    """
    if not isinstance(task, Task):
        return list(given)
    kinds: list[type[Callback]] = [Outlook, SplitOfWeights, Figures, Predictions, ResultRecord]
    if isinstance(task, PretrainingTask):
        kinds = [PairedEvaluation, PlaceEvaluation, *kinds]
    added = [kind() for kind in kinds if not any(isinstance(callback, kind) for callback in given)]
    monitored = any(isinstance(callback, ModelCheckpoint) and callback.monitor is not None for callback in given)
    if checkpoints is not None and task.monitor is not None and not monitored:
        best = ModelCheckpoint(
            dirpath=checkpoints,
            filename="best",
            monitor=f"val/{task.monitor.name}",
            mode=task.monitor.mode,
            save_on_train_epoch_end=False,  # after a validation only
            enable_version_counter=False,
        )
        added.append(best)
    return [*given, *added]
