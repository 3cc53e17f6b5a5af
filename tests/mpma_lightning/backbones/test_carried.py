"""Checkpoints of strangers: nothing in one is run, fetched or opened; the message says what it holds."""

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_fixtures import SMALL, small_backbone

from data_modules.errors import UserError
from mpma_lightning.backbones import Backbone, BackboneSpec, Vocabulary, resolve
from mpma_lightning.backbones.carried import carried_spec, refuse_foreign_sources
from mpma_lightning.backbones.checkpoint import CARGO, read_checkpoint
from mpma_lightning.backbones.tensor_files import read_file

SPEC = resolve(SMALL).plain()


class Runs:
    """Leaves a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def save(path: Path, spec: object, **cargo: object) -> Path:
    """A checkpoint of ours with another spec or cargo."""
    whole = {"spec": spec, "tokenizer": None, "normalisation": [0.5, 0.25], "task": "PretrainingTask", **cargo}
    state = {f"backbone.{name}": value for name, value in small_backbone("image").state_dict().items()}
    torch.save({"state_dict": state, CARGO: whole}, path)
    return path


def other(part: str, **fields: object) -> dict[str, Any]:
    """``SPEC`` with other fields in one part."""
    return {**SPEC, part: {**SPEC[part], **fields}}


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        (other("image", options={"checkpoint_path": "evil.pth"}), "image.options is"),
        (other("image", options={"checkpoint_path": 1}), "image.options names 'checkpoint_path'"),
        (other("image", options={"pretrained": True}), "image.options names 'pretrained'"),
        (other("image", options={"depth": 10**9}), "image.options.depth is 1000000000"),
        (other("image", encoder="timm/hf-hub:some/model"), "image.encoder is timm/hf-hub:some/model"),
        (other("image", encoder="timm/local-dir:/tmp"), "image.encoder is"),
        (other("image", encoder="../model"), "image.encoder is"),
        (other("image", encoder=["timm/resnet18"]), "image.encoder is"),
        (other("image", size=10**9), "image.size is 1000000000; expected a whole number of 1 to"),
        (other("text", width=True), "text.width is True"),
        (other("text", pool="mode"), "text.pool is 'mode'"),
        (other("fusion", module="os.system"), "fusion.module"),
        ({**SPEC, "loader": "os.system"}, "loader"),
        ({**SPEC, "image": "timm/local-dir:/tmp"}, "its backbone"),
        ({**SPEC, "name": "a\nb"}, "printable"),
        ("mpma_vit_t16", "expected a mapping"),
        (None, "expected a mapping"),
    ],
)
def test_error_spec_of_a_stranger(tmp_path: Path, spec: object, line: str) -> None:
    with pytest.raises(UserError) as caught:
        read_checkpoint(save(tmp_path / "a.ckpt", spec))
    message = str(caught.value)
    assert line in message and str(tmp_path / "a.ckpt") in message and "\n" not in message


@pytest.mark.parametrize(
    "cargo", [{"normalisation": [1]}, {"normalisation": "ab"}, {"tokenizer": 3}, {"text_config": 3}]
)
def test_error_cargo_of_a_stranger(tmp_path: Path, cargo: dict[str, object]) -> None:
    with pytest.raises(UserError, match=f"its {next(iter(cargo))} is"):
        read_checkpoint(save(tmp_path / "a.ckpt", SPEC, **cargo))


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["name", "image", "text", "fusion", "align", "dropout", "memory", "text_depth"]) | st.text(
    max_size=6
)
fields = st.sampled_from(["encoder", "options", "size", "weights", "width", "memory", "slots", "dropout"]) | st.text(
    max_size=6
)


@given(st.dictionaries(names, plain | st.dictionaries(fields, plain, max_size=3), max_size=4))
def test_any_spec_is_read_or_refused_in_one_line(spec: dict[str, Any]) -> None:
    try:
        found = carried_spec({"spec": spec}, "a.ckpt")
    except UserError as error:
        assert "a.ckpt" in str(error) and "\n" not in str(error)
    else:
        assert isinstance(found, BackboneSpec)


def test_error_sources_that_only_the_file_names() -> None:
    spec = carried_spec({"spec": other("image", weights="elsewhere/evil.pth")})
    with pytest.raises(UserError, match=r"does not hold its image encoder.*weights: elsewhere/evil.pth"):
        refuse_foreign_sources("a.ckpt", spec, ["image", "text"], ["text"], None)
    refuse_foreign_sources("a.ckpt", spec, ["image", "text"], ["image", "text"], None)
    refuse_foreign_sources("a.ckpt", spec, ["text"], ["text"], None)
    hub = carried_spec({"spec": other("text", encoder="hf/some/bert")})
    for filled, config in ((["image", "text"], None), (["image"], {"model_type": "bert"})):
        with pytest.raises(UserError, match=r"does not hold its text encoder.*encoder: hf/some/bert"):
            refuse_foreign_sources("a.ckpt", hub, ["image", "text"], filled, config)
    refuse_foreign_sources("a.ckpt", hub, ["image", "text"], ["text"], {"model_type": "bert"})
    refuse_foreign_sources("a.ckpt", hub, ["image"], ["image"], None)


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({"model_type": "nope"}, "model_type is nope"),
        ({}, "model_type is None"),
        ({"model_type": "bert", "hidden_size": 1 << 40}, "hidden_size is"),
        ({"model_type": "bert", "hidden_size": "wide"}, "cannot be built"),
    ],
)
def test_error_text_config_of_a_stranger(config: dict[str, object], line: str) -> None:
    spec = carried_spec({"spec": other("text", encoder="hf/some/bert")})
    with pytest.raises(UserError, match=line):
        Backbone(spec, ["text"], Vocabulary(50), config)


def test_value_code_that_a_text_config_names_is_left_out() -> None:
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    asks = {
        "auto_map": {"AutoModel": "evil--code.Model"},
        "attn_implementation": "hub/kernel",
        "trust_remote_code": True,
    }
    spec = carried_spec({"spec": other("text", encoder="hf/some/bert")})
    built = Backbone(spec, ["text"], Vocabulary(50), {"model_type": "bert", "vocab_size": 50, **size, **asks})
    assert type(built.text.bert).__module__.startswith("transformers.models.bert")
    assert not {"auto_map", "trust_remote_code"} & set(built.text_config or {})


def test_error_pickled_code_is_named_and_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    torch.save({"model": {"a": torch.zeros(2)}, "hook": Runs(mark)}, tmp_path / "evil.pth")
    torch.save({"hook": Runs(mark)}, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    for name in ("evil.pth", "legacy.pth"):
        with pytest.raises(
            UserError, match=rf"{name} holds pickled objects of (posix|nt)\.mkdir.*safetensors"
        ) as caught:
            read_checkpoint(tmp_path / name)
        assert "cut short" not in str(caught.value) and "\n" not in str(caught.value)
    assert not mark.exists()


def test_value_published_files_with_settings_and_numpy_numbers(tmp_path: Path) -> None:
    held = {"args": argparse.Namespace(lr=0.1, blocks=[1, 2]), "best": np.float64(0.5), "epoch": np.int64(3)}
    more = {"flag": np.bool_(True), "half": np.float32(0.25)}
    torch.save({"model": {"a": torch.ones(2)}, **held, **more}, tmp_path / "mae.pth")
    content = read_file(tmp_path / "mae.pth")
    assert content["best"] == 0.5 and content["epoch"] == 3 and content["args"].lr == 0.1 and content["half"] == 0.25
    assert torch.equal(read_checkpoint(tmp_path / "mae.pth").state["a"], torch.ones(2))


def test_error_numpy_objects(tmp_path: Path) -> None:
    torch.save({"model": {"a": torch.ones(2)}, "x": np.array([{}], dtype=object)}, tmp_path / "a.pth")
    with pytest.raises(UserError, match="holds pickled objects of numpy"):
        read_file(tmp_path / "a.pth")
