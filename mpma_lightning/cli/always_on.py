"""The callbacks of every run: result record, predictions, figures, online evaluation, best checkpoint."""

from collections.abc import Sequence

from lightning import Callback, LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint

from mpma_lightning.callbacks.figures import Figures
from mpma_lightning.callbacks.paired_evaluation import PairedEvaluation
from mpma_lightning.callbacks.predictions import Predictions
from mpma_lightning.evaluation.metric import Metric
from mpma_lightning.runs.result import ResultRecord
from mpma_lightning.tasks.base import Task
from mpma_lightning.tasks.pretraining import PretrainingTask

BEST = "best"
"""Name of the best checkpoint, without suffix."""


def always_on(task: LightningModule, given: Sequence[Callback], checkpoints: str | None) -> list[Callback]:
    """``given`` and what every run has besides; a callback that ``given`` has of its own takes the place of ours.

    Args:
        task: of the run; a module that is no :class:`Task` has no results to record.
        given: the callbacks that the config names.
        checkpoints: folder of the best checkpoint; None where none is chosen, such as in a fit without validation.
    """
    added: list[Callback] = []
    if not isinstance(task, Task):
        return list(given)
    kinds = [*[PairedEvaluation] * isinstance(task, PretrainingTask), Figures, Predictions]
    added += [kind() for kind in kinds if not any(isinstance(it, kind) for it in given)]
    added.append(ResultRecord())
    chosen = any(isinstance(it, ModelCheckpoint) and it.monitor is not None for it in given)
    if checkpoints is not None and task.monitor is not None and not chosen:
        added.append(best_checkpoint(task.monitor, checkpoints))
    return [*given, *added]


def best_checkpoint(metric: Metric, folder: str) -> ModelCheckpoint:
    """Keeps ``best.ckpt``, the weights of the validation with the best value of ``metric``."""
    return ModelCheckpoint(
        dirpath=folder,
        filename=BEST,
        monitor=f"val/{metric.name}",
        mode=metric.mode,
        save_on_train_epoch_end=False,  # after a validation only
        enable_version_counter=False,
    )
