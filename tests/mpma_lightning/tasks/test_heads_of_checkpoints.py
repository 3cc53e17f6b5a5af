"""What a checkpoint knows of a trained head: written under one key, read under the keys of older checkpoints too."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from every_task import build

from data_modules.errors import UserError
from mpma_lightning.tasks.named_outputs import NamedOutputsTask
from mpma_lightning.tasks.supervised import SupervisedTask


@pytest.fixture(autouse=True)
def usual_kind() -> Iterator[None]:
    yield
    torch.set_default_dtype(torch.float32)


def task_named(name: str, stage: str) -> NamedOutputsTask:
    task, _, trainer, _ = build(name)
    trainer.state.fn, trainer.ckpt_path = stage, "some.ckpt"
    assert isinstance(task, NamedOutputsTask)
    return task


def older(name: str, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """With the keys that each kind of task had for itself."""
    head = checkpoint.pop("head")
    if name == "vqa":
        return checkpoint | {"answers": head["names"]}
    if name in ("segmentation", "detection"):
        return checkpoint | {"structures": head["names"]}
    old = checkpoint | {"classes": {"names": head["names"], "exclusive": head["exclusive"]}}
    return old | ({"heads": head["heads"]} if name == "linear probe" else {})


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    "name", ["image labels", "exclusive labels", "linear probe", "segmentation", "detection", "vqa"]
)
def test_value_heads_come_back(name: str, old: bool) -> None:
    trained = task_named(name, "fit")
    for weight in trained.parameters():
        torch.nn.init.normal_(weight)
    if name not in ("vqa", "segmentation"):
        trained.classes = list(trained.classes)
    checkpoint: dict[str, Any] = {"state_dict": {k: v.clone() for k, v in trained.state_dict().items()}}
    trained.on_save_checkpoint(checkpoint)
    task = task_named(name, "test")
    with pytest.raises(UserError, match="is not trained; give --ckpt_path"):
        task.on_test_start()
    task.on_load_checkpoint(older(name, checkpoint) if old else checkpoint)
    task.load_state_dict(checkpoint["state_dict"])
    task.on_test_start()
    assert task.trained and task.classes == trained.classes
    assert all(torch.equal(v, task.state_dict()[k]) for k, v in trained.state_dict().items())


def test_value_other_data_are_scored_by_the_classes_in_common() -> None:
    checkpoint: dict[str, Any] = {"state_dict": {}}
    trained = task_named("image labels", "fit")
    trained.classes = ["Edema", "Pneumothorax"]
    trained.build_head()
    trained.on_save_checkpoint(checkpoint)
    task = task_named("image labels", "test")
    task.on_load_checkpoint(checkpoint)
    task.on_test_start()
    found = task.aligned(torch.tensor([[0.0, 1.0, 1.0]]))
    assert found[0, 0] == 1 and found[0, 1].isnan(), "the data's Edema is the head's first class"
    resumed = task_named("image labels", "fit")
    with pytest.raises(UserError, match="trained on the labels Edema, Pneumothorax, the data have Atelectasis"):
        resumed.on_load_checkpoint(checkpoint)


def test_error_none_in_common_another_task_another_vocabulary() -> None:
    checkpoint: dict[str, Any] = {"state_dict": {}}
    trained = task_named("image labels", "fit")
    trained.on_save_checkpoint(checkpoint)
    with pytest.raises(UserError, match="is of a ClassificationTask; fit a SegmentationTask first"):
        task_named("segmentation", "test").on_load_checkpoint(dict(checkpoint))
    checkpoint["head"]["names"] = ["Fracture"]
    task = task_named("image labels", "test")
    task.on_load_checkpoint(checkpoint)
    with pytest.raises(UserError, match=r"the checkpoint's head predicts Fracture: none in common"):
        task.on_test_start()
    answers: dict[str, Any] = {"state_dict": {}}
    task_named("vqa", "fit").on_save_checkpoint(answers)
    answers["head"]["names"] = ["no", "yes"]
    with pytest.raises(UserError, match=r"answers with another vocabulary .* first difference: 'their order'"):
        task_named("vqa", "test").on_load_checkpoint(answers)


def test_error_a_class_without_positive() -> None:
    task = task_named("image labels", "fit")
    task.refuse_without_positive({"Edema": 1}, 13)
    with pytest.raises(
        UserError, match=r"'Edema' has no positive among the 13 training samples \(label fraction 0.1, "
    ):
        task.refuse_without_positive({"Atelectasis": 2, "Edema": 0}, 13, 0.1, 3)


def test_value_every_task_with_a_head_is_supervised() -> None:
    for name in ("image labels", "linear probe", "segmentation", "detection", "vqa", "retrieval", "rerank"):
        assert isinstance(build(name)[0], SupervisedTask), name
