"""Online evaluation and figures: they agree with the tasks, and a fit with them is the fit without them."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from every_task import build, data, rows
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.data import DataLoader

from data_modules.errors import UserError
from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.backbones.memory_attention import MemoryUse
from mpma_lightning.callbacks.collapse import Collapse
from mpma_lightning.callbacks.figures import Figures
from mpma_lightning.callbacks.paired_evaluation import PairedEvaluation
from mpma_lightning.callbacks.place_evaluation import PlaceEvaluation
from mpma_lightning.figures.memory import words_of_slots
from mpma_lightning.tasks.base import Task
from mpma_lightning.tasks.pretraining import PretrainingTask

BATCHES = ([0, 1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12])


@pytest.fixture(autouse=True)
def usual_kind() -> Iterator[None]:
    yield
    torch.set_default_dtype(torch.float32)


@torch.no_grad()
def scores(name: str, weights: dict[str, Tensor], *callbacks: Any) -> dict[str, float]:
    """Of one validation of a task with the given weights of the backbone."""
    task, batch, trainer, logged = build(name)
    known = task.backbone.state_dict()
    task.backbone.load_state_dict({name: weights[name] for name in known} if weights else known)
    task.eval().on_validation_start()
    for callback in callbacks:
        callback.on_validation_epoch_start(trainer, task)
    for i, places in enumerate(BATCHES):
        part = rows(batch, places)
        outputs = task.validation_step(part, i)
        for callback in callbacks:
            callback.on_validation_batch_end(trainer, task, outputs, part, i)
    task.on_validation_epoch_end()
    for callback in callbacks:
        callback.on_validation_epoch_end(trainer, task)
    weights |= task.backbone.state_dict()
    return {key.removeprefix("val/"): value for key, value in logged.items()}


def test_value_online_evaluation_agrees_with_the_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PairedEvaluation, "_probe", lambda *_: {})
    weights: dict[str, Tensor] = {}
    online = scores("pretraining", weights, PairedEvaluation())
    zero_shot, retrieval = scores("zero-shot", weights), scores("retrieval", weights)
    assert online["zero_shot_auroc"] == zero_shot["global/auroc"]
    for name in ("Atelectasis", "Cardiomegaly", "Edema"):
        assert online[f"zero_shot/{name}"] == zero_shot[f"global/auroc/{name}"]
    same = [name for name in retrieval if name.startswith(("i2t_", "t2i_", "chance_", "pairs"))]
    assert len(same) == 14 and {name: online[name] for name in same} == {name: retrieval[name] for name in same}


def few_samples(batch: dict[str, Any], count: int | None = None) -> list[dict[str, Any]]:
    return [{"image": batch["image"][i], "labels": batch["labels"][i].float()} for i in range(13)][:count]


def fitted(folder: Path, *callbacks: Callback) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Weights and metrics after three steps with a validation after each."""
    torch.manual_seed(0)
    task, batch, _, _ = build("pretraining")
    torch.set_default_dtype(torch.float32)
    task = task.float()
    del task.log, task.log_dict  # of the class again
    module, _ = data(exclusive=False)
    module.setup = lambda stage=None: None  # type: ignore[method-assign]
    module.probe_samples = lambda most=None: few_samples(batch, most)  # type: ignore[method-assign, assignment, return-value]
    parts = [rows(batch, places) for places in BATCHES]
    module.train_dataloader = module.val_dataloader = lambda: DataLoader(parts, batch_size=None)  # type: ignore[method-assign, assignment]
    trainer = Trainer(
        accelerator="cpu", callbacks=list(callbacks), max_steps=3, val_check_interval=1, default_root_dir=folder,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(task, datamodule=module)
    return task.state_dict(), {name: float(value) for name, value in trainer.callback_metrics.items()}


class Fails(Figures):
    """Draws nothing but random numbers, and fails."""

    def _keep(self, trainer: Trainer, task: LightningModule, draw: Callable[..., Any]) -> None:
        def broken(*_: Any) -> dict[str, Figure]:
            raise RuntimeError(f"no font {torch.rand(1).item() + random.random()}")

        super()._keep(trainer, task, broken)


def test_value_callbacks_change_neither_weights_nor_metrics(tmp_path: Path) -> None:
    weights, metrics = fitted(tmp_path / "alone", Collapse())
    assert {"val/image_spread", "val/text_spread"} <= set(metrics)
    evaluation = PairedEvaluation(probe_shots=4, probe_draws=2)
    same, more = fitted(tmp_path / "all", Figures(), evaluation, PlaceEvaluation(8, 2), Collapse())
    assert all(torch.equal(same[name], value) for name, value in weights.items()) and list(weights) == list(same)
    assert {name: more[name] for name in metrics} == metrics
    assert {"val/zero_shot_auroc", "val/probe4_auroc", "val/i2t_r1"} <= set(more)
    assert {"val/leak/pixels", "val/leak/level_0", "val/leak/level_2/Edema"} <= set(more)
    assert 0 <= more["val/sentence_choice/positive"] <= 1
    assert (tmp_path / "all" / "pictures" / "reconstruction.png").is_file()
    with pytest.warns(UserWarning, match="no figures at step 1: RuntimeError: no font"):
        same, more = fitted(tmp_path / "broken", Fails(), Collapse())
    assert more == metrics and all(torch.equal(same[name], value) for name, value in weights.items())


def states() -> list[Any]:
    """Of the global random generators."""
    return [torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()]  # type: ignore[index, union-attr]


@pytest.mark.parametrize(
    "name", ["pretraining", "segmentation", "detection", "grounding", "vqa", "zero-shot", "retrieval"]
)
def test_value_figures_draw_no_random_numbers_and_take_no_gradient(name: str, tmp_path: Path) -> None:
    task, batch, trainer, _ = build(name)
    few = rows(batch, [1, 2, 4, 5])
    task.eval().on_validation_start()
    with torch.no_grad():
        outputs = task.validation_step(few, 0)
    trainer.fast_dev_run, trainer.default_root_dir, trainer.loggers = False, tmp_path, []
    graded: list[bool] = []
    original = task.figures

    def figures(*arguments: Any) -> dict[str, Figure]:
        graded.append(torch.is_grad_enabled())
        return original(*arguments)

    task.figures = figures  # type: ignore[method-assign, assignment]
    before = states()
    Figures(samples=2).on_validation_batch_end(trainer, task, outputs, few, 0)  # type: ignore[arg-type]
    assert states() == before and graded == [False]
    drawn = list((tmp_path / "pictures").glob("*.png")) if (tmp_path / "pictures").is_dir() else []
    assert bool(drawn) == (type(task).figures is not Task.figures)


def test_value_and_error_slot_gallery(tmp_path: Path) -> None:
    task, batch, trainer, _ = build("pretraining")
    few = rows(batch, [1, 2, 4, 5])
    task.eval().on_validation_start()
    with torch.no_grad():
        outputs = task.validation_step(few, 0)
    trainer.fast_dev_run, trainer.default_root_dir, trainer.loggers = False, tmp_path, []
    figures = Figures(samples=2, extra=["slots"])
    figures.setup(trainer, task, "fit")  # type: ignore[arg-type]
    figures.on_validation_batch_end(trainer, task, outputs, few, 0)  # type: ignore[arg-type]
    layers = len(task.backbone.fusion.layers)
    assert {f"slots_{i}.png" for i in range(layers)} == {p.name for p in (tmp_path / "pictures").glob("slots_*.png")}
    with pytest.raises(UserError, match="found figure 'slot' in extra of Figures; PretrainingTask has slots"):
        Figures(extra=["slot"]).setup(trainer, task, "fit")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="found figure 'slots' in extra of Figures; GroundingTask has none"):
        Figures(extra=["slots"]).setup(trainer, build("grounding")[0], "test")  # type: ignore[arg-type]


def test_value_words_of_slots() -> None:
    tokenizer = Tokenizer.train(["small left pleural effusion is seen"] * 5, 300, 1)
    ids, _, owners = (torch.tensor(x) for x in tokenizer.encode("left effusion left", 6))
    heard = torch.zeros(1, 6, 2)
    heard[0, owners == 0], heard[0, owners == 1], heard[0, owners == 2] = (
        torch.tensor(x) for x in ([0.3, 0.1], [0.1, 0.1], [0.1, 0.1])
    )
    use = MemoryUse(*torch.zeros(3, 1, 6), heard, torch.zeros(1, 4, 2))
    first, second = words_of_slots(use, tokenizer, ids[None], owners[None])
    assert first == pytest.approx({"left": (0.75 + 0.5) / 2, "effusion": 0.5}) and list(first) == ["left", "effusion"]
    assert second == pytest.approx({"left": (0.25 + 0.5) / 2, "effusion": 0.5}) and list(second) == ["effusion", "left"]


def test_value_task_of_another_kind_is_not_measured() -> None:
    guard = Collapse()
    guard.on_validation_start(SimpleNamespace(state=SimpleNamespace(fn="fit")), torch.nn.Module())  # type: ignore[arg-type]
    assert guard._hooks == [] and issubclass(PretrainingTask, Task)


@pytest.mark.parametrize(
    ("command", "step", "since", "due"),
    [("fit", 5, 29.0, False), ("fit", 5, 31.0, True), ("fit", 9, 1.0, True), ("test", 5, 1.0, True)],
)
def test_value_pictures_take_at_most_a_tenth_of_a_fit(
    command: str, step: int, since: float, due: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last drawing took 3 seconds; 9 steps are the whole run."""
    figures = Figures()
    figures.seconds, figures.finished = 3.0, 100.0
    monkeypatch.setattr("mpma_lightning.callbacks.figures.time", SimpleNamespace(monotonic=lambda: 100.0 + since))
    trainer = SimpleNamespace(state=SimpleNamespace(fn=command), global_step=step, estimated_stepping_batches=9)
    figures.on_validation_start(trainer, None)  # type: ignore[arg-type]
    assert figures.due == due
