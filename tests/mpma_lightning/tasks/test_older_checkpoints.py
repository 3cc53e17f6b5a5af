"""Checkpoints with weights that are no longer built, and of a text encoder that is no longer there."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import every_task
import pytest
import torch
from transformers import BertConfig, BertModel

from data_modules.errors import UserError
from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.backbones import BackboneSpec, FusionSpec, TextSpec
from mpma_lightning.tasks.vqa import VQATask

UNUSED = "backbone.image.vit.attn_pool.q.weight"


@pytest.fixture(autouse=True)
def usual_kind() -> Iterator[None]:
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("stage", ["test", "predict", "fit"])
def test_value_and_error_weights_that_no_encoder_uses(stage: str) -> None:
    task, _, trainer, _ = every_task.build("image labels")
    trainer.state.fn, trainer.ckpt_path = stage, "some.ckpt"
    checkpoint: dict[str, Any] = {"state_dict": task.state_dict()}
    task.on_save_checkpoint(checkpoint)
    checkpoint["state_dict"][UNUSED] = torch.zeros(2, 2)
    if stage == "fit":
        with pytest.raises(UserError, match=rf"some.ckpt has 1 weights .* \(first: {UNUSED}\); start a new run from"):
            task.on_load_checkpoint(checkpoint)
    else:
        task.on_load_checkpoint(checkpoint)
        task.load_state_dict(checkpoint["state_dict"])


def test_value_vqa_starts_from_a_published_text_encoder_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The baseline without image is built from the checkpoint too, with the weights of the text encoder."""
    words, _ = every_task.data(exclusive=False)
    assert words.spec.tokenizer is not None
    size = len(Tokenizer.from_json(words.spec.tokenizer))
    config = BertConfig(vocab_size=size, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path / "bert")
    spec = BackboneSpec(f"hf/{tmp_path}/bert", every_task.SPEC.image, TextSpec(depth=1), FusionSpec(depth=1, heads=2))
    monkeypatch.setitem(every_task.EVALUATE, "vqa", partial(VQATask, backbone=spec))
    first, *_ = every_task.build("vqa")
    checkpoint: dict[str, Any] = {"state_dict": first.state_dict(), "global_step": 1}
    first.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "vqa.ckpt")
    shutil.rmtree(tmp_path / "bert")
    monkeypatch.setitem(every_task.EVALUATE, "vqa", partial(VQATask, checkpoint=str(tmp_path / "vqa.ckpt")))
    again, batch, *_ = every_task.build("vqa")
    assert isinstance(again, VQATask) and isinstance(first, VQATask)
    trained = first.backbone.text.state_dict()
    for text in (again.backbone.text, again.blind.text):
        assert all(torch.equal(value, trained[name]) for name, value in text.state_dict().items())
    assert torch.isfinite(again.eval().blind_logits(batch)).all()
