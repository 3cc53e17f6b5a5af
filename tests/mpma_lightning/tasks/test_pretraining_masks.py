"""What the pre-training task masks, by objectives, encoder and style."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from memory_data import MemoryData
from model_fixtures import only

from data_modules.contract import DataSpec
from data_modules.errors import UserError
from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.backbones import BackboneSpec, ImageSpec
from mpma_lightning.objectives import Objectives
from mpma_lightning.objectives.global_alignment import GlobalAlignmentOptions
from mpma_lightning.objectives.image_reconstruction import ImageReconstructionOptions
from mpma_lightning.objectives.local_alignment import LocalAlignmentOptions
from mpma_lightning.tasks.pretraining import Masking, PretrainingTask


def task_and_batch(objectives: Objectives, masking: Masking, **image: Any):
    tokenizer = Tokenizer.train(["the heart is large and the lungs are clear"], 400, 1)
    spec = BackboneSpec("mpma_vit_t16", ImageSpec(size=64, **image))
    task = PretrainingTask(backbone=spec, masking=masking, objectives=objectives, target_scale=1)
    data = MemoryData(DataSpec("Memory", tokenizer=tokenizer.to_json()))
    task.trainer = SimpleNamespace(datamodule=data, log_every_n_steps=1, global_step=0)  # type: ignore[assignment]
    task.configure_model()
    encoded = [tokenizer.encode(text, 12) for text in ("the heart is large", "the lungs are clear and large")]
    names = ("input_ids", "attention_mask", "word_ids")
    batch = {name: torch.tensor([e[i] for e in encoded]) for i, name in enumerate(names)}
    image = torch.randint(0, 255, (2, 1, 64, 64), dtype=torch.uint8)
    return task, batch | {"image": image, "group": torch.arange(2), "seed": torch.arange(2), "id": ["a", "b"]}


@pytest.mark.parametrize("image", [{"encoder": "timm/resnet18"}, {"pool": "cls"}])
def test_alignment_only_masks_nothing_and_trains_a_cnn(image) -> None:
    task, batch = task_and_batch(only(GlobalAlignmentOptions(), LocalAlignmentOptions()), Masking(), **image)
    state = task.state(batch, training=True)
    assert state.image_mask is None and not state.report_mask.masked.any()
    task.check_every, task.log = 1, lambda *_: None  # type: ignore[method-assign]
    outcome = task.step(batch, "train")
    sum(outcome[name][0] for name in outcome if name.endswith("_loss")).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in task.parameters())


@pytest.mark.parametrize("name", ["resnet18", "swin_tiny_patch4_window7_224"])
def test_masked_objectives_refuse_a_cnn_and_windows(name: str) -> None:
    task, batch = task_and_batch(
        Objectives(image_reconstruction=ImageReconstructionOptions(weight=0)), Masking(), encoder=f"timm/{name}"
    )
    with pytest.raises(UserError, match=f"timm/{name} cannot drop masked patches"):
        task.step(batch, "val")


def test_bert_style_in_training_only() -> None:
    task, batch = task_and_batch(Objectives(), Masking(report_ratio=0.5, report_style="bert"))
    batch["seed"] = torch.tensor([3, 4])
    shown = task.state(batch).report_mask
    assert (shown.input_ids[shown.masked] == task.backbone.vocabulary.mask_id).all()
    trained = [task.state({**batch, "seed": torch.tensor([s, -s])}, training=True).report_mask for s in range(1, 20)]
    assert any((m.input_ids[m.masked] != task.backbone.vocabulary.mask_id).any() for m in trained)
