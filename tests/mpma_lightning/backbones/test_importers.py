"""Checkpoints of other code bases: their features are those of the modules that wrote them, wrong files are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foreign_files
import pytest
import torch
from foreign_files import IDS, MASK, Sample, lively, pixels, vit
from foreign_match import CLOSE, loaded, same
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    CLIPConfig,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    SiglipConfig,
    SiglipModel,
    ViTConfig,
    ViTModel,
)

from data_modules.errors import UserError
from mpma_lightning.backbones import Backbone, Vocabulary, resolve
from mpma_lightning.backbones.checkpoint import read_checkpoint
from mpma_lightning.backbones.importers import FAMILIES, Foreign, recognise
from mpma_lightning.backbones.weights import load_weights

FILES: dict[str, tuple[str, Callable[[], Sample]]] = {
    "mae": ("ViT of timm, MAE or DINOv2", foreign_files.mae),
    "mrm": ("MRM", foreign_files.mrm),
    "mgca_vit": ("MGCA", foreign_files.mgca),
    "mgca_resnet": ("MGCA", lambda: foreign_files.mgca(of_vit=False)),
    "gloria": ("GLoRIA, below gloria.", foreign_files.gloria),
    "convirt": ("ConVIRT", foreign_files.convirt),
    "m3ae": ("M3AE", foreign_files.m3ae),
    "biovil": ("BioViL", lambda: foreign_files.biovil()[0]),
    "open_clip": ("open_clip", foreign_files.open_clip),
    "xrv": ("DenseNet of torchvision", foreign_files.one_channel),
}


@pytest.mark.parametrize("name", FILES)
def test_value_features_are_those_of_the_original(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    origin, make = FILES[name]
    sample = make()
    torch.save(sample.state, tmp_path / "a.pth")
    parts = ["image"] if name == "biovil" else []
    if parts:  # its text is in another file
        sample.outputs = {"pooled": sample.outputs["pooled"]}
    backbone, checkpoint = loaded(tmp_path / "a.pth", *parts)
    assert checkpoint.origin == origin
    same(backbone, sample)
    assert origin.split()[0].rstrip(",") in capsys.readouterr().err


def test_value_batch_norms_of_heads_are_of_evaluation_also_in_training(tmp_path: Path) -> None:
    sample = foreign_files.mgca()
    torch.save(sample.state, tmp_path / "a.pth")
    backbone, checkpoint = loaded(tmp_path / "a.pth")
    assert checkpoint.imported is not None and "batch norms" in checkpoint.imported.notes[0]
    assert not [module for module in backbone.modules() if isinstance(module, nn.BatchNorm1d)]


def test_value_folder_of_cxr_bert_brings_its_image_encoder(tmp_path: Path) -> None:
    sample, texts = foreign_files.biovil()
    torch.save(sample.state, tmp_path / "biovil_image_resnet50_proj_size_128.pt")
    torch.save(texts, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps({**foreign_files.BERT.to_dict(), "model_type": "cxr-bert"}))
    backbone, checkpoint = loaded(tmp_path)
    assert checkpoint.origin == "CXR-BERT" and checkpoint.normalisation == (0.0, 1.0)
    same(backbone, sample)


SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


@torch.no_grad()
@pytest.mark.parametrize("kind", ["vit", "dinov2", "registers"])
def test_value_folders_of_vits_of_transformers(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(0)
    sizes = {**SIZES, "image_size": 32, "patch_size": 8}
    model: Any = {
        "vit": lambda: ViTModel(ViTConfig(**sizes, intermediate_size=96)),
        "dinov2": lambda: Dinov2Model(Dinov2Config(**sizes)),
        "registers": lambda: Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**sizes, num_register_tokens=3)),
    }[kind]()
    lively(model).save_pretrained(tmp_path)
    settings = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.2, 0.25]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    backbone, checkpoint = loaded(tmp_path)
    tokens = model(pixels(32)).last_hidden_state
    first = 4 if kind == "registers" else 1
    same(backbone, Sample({}, pixels(32), {"pooled": tokens[:, 0], "tokens": tokens[:, first:]}))
    assert checkpoint.normalisation == ([0.5, 0.5, 0.5], [0.25, 0.2, 0.25])


@torch.no_grad()
def test_value_folder_of_a_bert_of_transformers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = lively(BertForMaskedLM(BertConfig(**{**SIZES, "vocab_size": 60, "intermediate_size": 96})))
    model.save_pretrained(tmp_path)
    backbone, checkpoint = loaded(tmp_path)
    same(backbone, Sample({}, pixels(32), {"words": model.bert(IDS, MASK).last_hidden_state}))
    assert checkpoint.imported is not None and "cls.predictions.bias" in checkpoint.imported.left_out


@torch.no_grad()
def test_value_folder_of_a_clip_of_transformers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {**SIZES, "intermediate_size": 96}
    words = {**sizes, "vocab_size": 60, "max_position_embeddings": 20, "bos_token_id": 58, "eos_token_id": 59}
    image = {**sizes, "image_size": 32, "patch_size": 8}
    model = lively(CLIPModel(CLIPConfig(text_config=words, vision_config=image, projection_dim=16)))
    model.save_pretrained(tmp_path)
    closed = IDS.scatter(1, MASK.sum(1, keepdim=True) - 1, 59)  # its texts are pooled there
    given = model(input_ids=closed, attention_mask=MASK, pixel_values=pixels(32))
    backbone, _ = loaded(tmp_path)
    features = backbone.image(pixels(32)), backbone.text(closed, MASK)
    assert torch.allclose(backbone.embed_image(features[0]), given.image_embeds, **CLOSE)
    assert torch.allclose(backbone.embed_text(features[1]), given.text_embeds, **CLOSE)


@torch.no_grad()
def test_value_image_tower_of_a_siglip_of_transformers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {**SIZES, "intermediate_size": 96}
    image = {**sizes, "image_size": 32, "patch_size": 8}
    model = lively(SiglipModel(SiglipConfig(text_config={**sizes, "vocab_size": 60}, vision_config=image)))
    model.save_pretrained(tmp_path)
    backbone, checkpoint = loaded(tmp_path)
    given = model.vision_model(pixel_values=pixels(32))
    same(backbone, Sample({}, pixels(32), {"tokens": given.last_hidden_state, "pooled": given.pooler_output}))
    assert checkpoint.imported is not None and "text tower is not imported" in checkpoint.imported.notes[0]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model.", "backbone.", "student.",
                                    "visual.trunk.", "img_encoder_q.model.", "teacher.module.backbone."])  # fmt: skip
def test_value_prefixes_are_found_and_named(tmp_path: Path, prefix: str, capsys: pytest.CaptureFixture[str]) -> None:
    state = {prefix + name: value for name, value in vit().state_dict().items()}
    torch.save(state | {"dino_head.mlp.0.weight": torch.zeros(2)}, tmp_path / "a.pth")
    _, checkpoint = loaded(tmp_path / "a.pth")
    assert "".join(checkpoint.imported.prefixes if checkpoint.imported else []) == prefix
    assert checkpoint.imported is not None and checkpoint.imported.left_out == ["dino_head.mlp.0.weight"]
    report = "".join(capsys.readouterr().err.split())
    assert f"below{prefix}" in report and "leftout:1tensors" in report


def test_value_a_teacher_comes_before_its_student(tmp_path: Path) -> None:
    teacher, student = vit(), lively(vit())
    torch.save({"student": student.state_dict(), "teacher": teacher.state_dict()}, tmp_path / "a.pth")
    backbone, checkpoint = loaded(tmp_path / "a.pth")
    assert torch.equal(backbone.image.vit.cls_token, teacher.cls_token)  # type: ignore[attr-defined]
    assert checkpoint.origin.endswith("below teacher.")


def test_value_the_backbone_of_the_user_counts_more_than_the_file(tmp_path: Path) -> None:
    """Another grid: positions are resampled, and the report says so."""
    torch.save(vit().state_dict(), tmp_path / "a.pth")
    checkpoint = read_checkpoint(tmp_path / "a.pth")
    spec = resolve(checkpoint.determined() or "")
    spec.image.size = 48
    backbone = Backbone(spec, ["image"])
    assert load_weights(backbone, checkpoint)["image"].resized == ["image.vit.pos_embed"]
    assert backbone.image.vit.pos_embed.shape[1] == 37  # type: ignore[attr-defined]


def test_error_of_no_family_shows_its_names_beside_ours(tmp_path: Path) -> None:
    torch.save({"stem.weight": torch.zeros(3), "tower.0.bias": torch.zeros(2)}, tmp_path / "a.pth")
    backbone = Backbone(resolve("mpma_vit_t16"), ["image"])
    with pytest.raises(UserError, match=r"first: image\.vit\..*no known family.*stem\.weight, tower\.0\.bias"):
        load_weights(backbone, read_checkpoint(tmp_path / "a.pth"))


def test_error_a_part_that_the_file_does_not_hold(tmp_path: Path) -> None:
    torch.save(vit().state_dict(), tmp_path / "a.pth")
    checkpoint = read_checkpoint(tmp_path / "a.pth")
    backbone = Backbone(resolve(checkpoint.determined() or ""), ["image", "text"], Vocabulary(60))
    with pytest.raises(UserError, match=r"fits 0% of part 'text'.*The file \(ViT of timm.*\) holds image\."):
        load_weights(backbone, checkpoint)


def test_error_a_file_that_is_not_whole_names_its_family(tmp_path: Path) -> None:
    state = foreign_files.mgca().state["state_dict"]
    torch.save(
        {name: value for name, value in state.items() if "text_encoder_q.global" not in name}, tmp_path / "a.pth"
    )
    with pytest.raises(UserError, match=r"a\.pth has the marks of MGCA, but not all of its tensors \(KeyError"):
        read_checkpoint(tmp_path / "a.pth")


def test_error_pickled_objects_name_the_command_that_converts(tmp_path: Path) -> None:
    """The command is run: what it writes can be read."""
    import subprocess
    import sys

    model = nn.Sequential(nn.Linear(2, 2))
    torch.save(model, tmp_path / "a file.pt")
    with pytest.raises(UserError, match=r"holds pickled objects of torch\.nn.*\.safetensors") as caught:
        read_checkpoint(tmp_path / "a file.pt")
    command = str(caught.value).partition("python -c ")[2]
    subprocess.run(f'"{sys.executable}" -c {command}', shell=True, check=True)
    assert torch.equal(read_checkpoint(tmp_path / "a file.pt.safetensors").state["0.weight"], model[0].weight)


def test_error_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is a folder with none of model\.safetensors.*run folder"):
        read_checkpoint(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(UserError, match=r"weights in several files \(model\.safetensors\.index\.json\)"):
        read_checkpoint(tmp_path)


@given(st.dictionaries(st.text(max_size=30), st.integers(0, 3), max_size=6))
def test_property_any_names_are_recognised_or_not_without_a_crash(names: dict[str, int]) -> None:
    assert recognise(Foreign({name: torch.zeros([2] * dims) for name, dims in names.items()})) is None


def test_value_families_are_named_once() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
