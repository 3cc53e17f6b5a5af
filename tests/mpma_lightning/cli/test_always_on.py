"""The callbacks that every run has, and what the config replaces."""

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, ModelCheckpoint

from data_modules.errors import UserError
from mpma_lightning.callbacks.figures import Figures
from mpma_lightning.callbacks.outlook import Outlook
from mpma_lightning.callbacks.paired_evaluation import PairedEvaluation
from mpma_lightning.callbacks.place_evaluation import PlaceEvaluation
from mpma_lightning.callbacks.predictions import Predictions
from mpma_lightning.cli.always_on import always_on
from mpma_lightning.runs.result import ResultRecord
from mpma_lightning.runs.split_of_weights import SplitOfWeights
from mpma_lightning.tasks.classification import ClassificationTask
from mpma_lightning.tasks.pretraining import PretrainingTask
from mpma_lightning.tasks.zero_shot import ZeroShotTask

TINY = "mpma_vit_t16"
EVERY = [Outlook, SplitOfWeights, Figures, Predictions, ResultRecord]


class OwnFigures(Figures):
    """A subclass replaces its class too."""


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (PretrainingTask, [PairedEvaluation, PlaceEvaluation, *EVERY]),
        (ZeroShotTask, EVERY),
        (ClassificationTask, [*EVERY, ModelCheckpoint]),
    ],
)
def test_value_every_run(kind: Any, expected: list[type[Callback]], tmp_path: Path) -> None:
    found = always_on(kind(backbone=TINY), [], str(tmp_path))
    assert [type(callback) for callback in found] == expected


@pytest.mark.parametrize(
    "given",
    [
        Figures(samples=2),
        OwnFigures(),
        Predictions(file="mine.arrow"),
        ResultRecord(),
        PairedEvaluation(probe_shots=7),
        PlaceEvaluation(batches=1),
    ],
)
def test_value_a_named_callback_replaces_its_class(given: Callback) -> None:
    found = always_on(PretrainingTask(backbone=TINY), [LearningRateMonitor(), given], None)
    assert found[1] is given and len(found) == 8
    kinds = (Figures, Predictions, ResultRecord, PairedEvaluation, PlaceEvaluation)
    assert sum(isinstance(callback, kinds) for callback in found) == 5


def test_value_the_best_checkpoint(tmp_path: Path) -> None:
    task, newest = ClassificationTask(backbone=TINY), ModelCheckpoint(every_n_train_steps=5)
    best = always_on(task, [newest], str(tmp_path))[-1]
    assert isinstance(best, ModelCheckpoint) and best.filename == "best"
    assert (best.monitor, best.mode, best.dirpath) == ("val/auroc", "max", str(tmp_path))
    own = ModelCheckpoint(monitor="val/f1", mode="max")
    for given, folder in (([newest, own], str(tmp_path)), ([newest], None)):
        found = [callback for callback in always_on(task, given, folder) if isinstance(callback, ModelCheckpoint)]
        assert found == given


@pytest.mark.parametrize(("name", "mode"), [("f1", "max"), ("loss", "min"), ("auroc", "max")])
def test_value_model_monitor_picks_the_best_checkpoint(name: str, mode: str, tmp_path: Path) -> None:
    best = always_on(ClassificationTask(backbone=TINY, monitor=name), [], str(tmp_path))[-1]
    assert isinstance(best, ModelCheckpoint) and (best.monitor, best.mode) == (f"val/{name}", mode)


def test_error_model_monitor_is_unknown() -> None:
    with pytest.raises(UserError, match=r"model\.monitor 'aurok', .*ClassificationTask .*; did you mean 'auroc'\?"):
        ClassificationTask(backbone=TINY, monitor="aurok")
    with pytest.raises(UserError, match=r"model\.monitor 'f1', .*; there is: loss"):
        ZeroShotTask(backbone=TINY, monitor="f1")


def test_value_a_module_that_is_no_task_stays_as_configured() -> None:
    given = [LearningRateMonitor()]
    assert always_on(LightningModule(), given, "checkpoints") == given
