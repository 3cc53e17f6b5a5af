"""Variants within the families of other code bases: other towers, other names for the same layers, wrong files."""

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import foreign_files
import pytest
import torch
import torchvision
from foreign_files import IDS, MASK, Sample, lively, maps, pixels, vit
from foreign_match import CLOSE, loaded, same
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import (
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    RobertaConfig,
    RobertaForMaskedLM,
    ViTMAEConfig,
    ViTMAEForPreTraining,
)

import mpma_lightning
from data_modules.errors import UserError
from mpma_lightning.backbones.checkpoint import read_checkpoint

SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1}


@torch.no_grad()
def test_value_folder_of_a_masked_autoencoder_of_transformers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    decoder = {"decoder_hidden_size": 32, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
    config = ViTMAEConfig(**SIZES, **decoder, intermediate_size=96, image_size=32, patch_size=8, mask_ratio=0.0)
    model = lively(ViTMAEForPreTraining(config))
    model.save_pretrained(tmp_path)
    in_order = torch.arange(16.0).expand(2, -1)
    tokens = model.vit(pixels(32), noise=in_order).last_hidden_state
    backbone, checkpoint = loaded(tmp_path)
    same(backbone, Sample({}, pixels(32), {"pooled": tokens[:, 0], "tokens": tokens[:, 1:]}))
    assert checkpoint.imported is not None and "decoder.decoder_pred.weight" in checkpoint.imported.left_out


@torch.no_grad()
def test_value_folder_of_a_roberta_of_transformers(tmp_path: Path) -> None:
    """Its positions count from the piece of padding, 1."""
    torch.manual_seed(0)
    sizes = {**SIZES, "vocab_size": 60, "intermediate_size": 96, "max_position_embeddings": 20, "type_vocab_size": 1}
    model = lively(RobertaForMaskedLM(RobertaConfig(**sizes)))
    model.save_pretrained(tmp_path)
    ids = IDS.masked_fill(MASK == 0, 1)
    backbone, _ = loaded(tmp_path)
    mine, theirs = backbone.text(ids, MASK).tokens, model.roberta(ids, MASK).last_hidden_state
    assert torch.allclose(mine[MASK.bool()], theirs[MASK.bool()], **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("chunks", [1, 2])
def test_value_own_names_of_a_dinov2_with_registers_and_gated_layers(tmp_path: Path, chunks: int) -> None:
    """transformers' class has the values; the names are those of facebookresearch/dinov2, blocks in chunks for FSDP."""
    torch.manual_seed(0)
    config = Dinov2WithRegistersConfig(**SIZES, image_size=32, patch_size=8, num_register_tokens=4, use_swiglu_ffn=True)
    model = lively(Dinov2WithRegistersModel(config))
    names = {
        "embeddings.patch_embeddings.projection": "patch_embed.proj", "embeddings.position_embeddings": "pos_embed",
        "embeddings.": "", "layernorm.": "norm.", "attention.output.dense": "attn.proj", "weights_in": "w12",
        "weights_out": "w3", "layer_scale": "ls", "lambda1": "gamma",
    }  # fmt: skip
    state: dict[str, Tensor] = {}
    model.save_pretrained(tmp_path / "folder")
    for name, value in load_file(tmp_path / "folder" / "model.safetensors").items():
        for theirs, own in names.items():
            name = name.replace(theirs, own)
        state[name] = value
    for i in range(2):
        for kind in ("weight", "bias"):
            parts = [state.pop(f"encoder.layer.{i}.attention.attention.{x}.{kind}") for x in ("query", "key", "value")]
            state[f"encoder.layer.{i}.attn.qkv.{kind}"] = torch.cat(parts)
    chunked = "blocks." if chunks == 1 else "blocks.{}."
    for name in [name for name in state if name.startswith("encoder.layer.")]:
        number = name.split(".")[2]
        state[name.replace("encoder.layer.", chunked.format(number))] = state.pop(name)
    torch.save({"teacher": {f"backbone.{name}": value for name, value in state.items()}}, tmp_path / "a.pth")
    tokens = model(pixels(32)).last_hidden_state
    backbone, checkpoint = loaded(tmp_path / "a.pth")
    same(backbone, Sample({}, pixels(32), {"pooled": tokens[:, 0], "tokens": tokens[:, 5:]}))
    assert checkpoint.imported is not None and checkpoint.imported.left_out == ["mask_token"]


@torch.no_grad()
def test_value_a_masked_autoencoder_finetuned_on_the_mean_of_patches(tmp_path: Path) -> None:
    """MAE's code then has no last norm, and ``fc_norm`` before the classifier."""
    encoder = vit()
    before: list[Tensor] = []
    encoder.norm.register_forward_pre_hook(lambda _, inputs: before.append(inputs[0]))
    encoder.forward_features(pixels(32))
    state = {name.replace("norm.", "fc_norm.") if name.startswith("norm.") else name: value
             for name, value in encoder.state_dict().items()}  # fmt: skip
    torch.save({"model": state | {"head.weight": torch.zeros(5, 64)}}, tmp_path / "a.pth")
    model = mpma_lightning.load(tmp_path / "a.pth", device="cpu")
    assert torch.allclose(model.backbone.image(pixels(32)).pooled, before[0][:, 1:].mean(1), **CLOSE)
    imported = read_checkpoint(tmp_path / "a.pth").imported
    assert imported is not None and "fc_norm" in imported.notes[0]


@torch.no_grad()
def test_value_cnns_of_torchvision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    residual, dense = lively(torchvision.models.resnet34()), lively(torchvision.models.densenet121())
    for value in (dense.features.norm5.weight, dense.features.norm5.bias):
        value.div_(300)  # its features are then of order 1
    expected = {"resnet": maps(residual, pixels(64))[1].mean(1), "densenet": dense.features(pixels(64)).relu()}
    expected["densenet"] = expected["densenet"].mean((2, 3))
    for name, model in (("resnet", residual), ("densenet", dense)):
        torch.save(model.state_dict(), tmp_path / f"{name}.pth")
        backbone, checkpoint = loaded(tmp_path / f"{name}.pth")
        same(backbone, Sample({}, pixels(64), {"pooled": expected[name]}))
        assert checkpoint.normalisation is None


@torch.no_grad()
def test_value_torchxrayvisions_resnet(tmp_path: Path) -> None:
    """A ResNet of torchvision that reads one channel of -1024 to 1024, at 512 pixels."""
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=18)
    network.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    lively(network)
    for norm in (network.layer4[0].bn2, network.layer4[0].downsample[1], network.layer4[1].bn2):
        norm.weight.div_(300)  # its features are then of order 1
        norm.bias.div_(300)
    torch.save(network.state_dict(), tmp_path / "a.pt")
    gray = pixels(64)[:, :1]
    backbone, checkpoint = loaded(tmp_path / "a.pt")
    same(backbone, Sample({}, gray.expand(-1, 3, -1, -1), {"pooled": maps(network, gray)[1].mean(1)}))
    mean, std = checkpoint.normalisation or (0, 1)
    assert [(x - mean) / std for x in (0.0, 1.0)] == [-1024, 1024]  # type: ignore[operator]
    assert backbone.spec.image.size == 512


def test_value_biovil_t_of_a_single_image(tmp_path: Path) -> None:
    sample, texts = foreign_files.biovil(two=True)
    torch.save(sample.state, tmp_path / "biovil_t_image_model_proj_size_128.pt")
    torch.save(texts, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps({**foreign_files.BERT.to_dict(), "model_type": "cxr-bert"}))
    backbone, checkpoint = loaded(tmp_path)
    same(backbone, sample)
    assert checkpoint.imported is not None and "for a single image" in checkpoint.imported.notes[0]


@pytest.mark.parametrize("kind", ["openai", "open_clip", "described"])
def test_value_clips_own_towers(tmp_path: Path, kind: str) -> None:
    """OpenAI's with its own GELU; open_clip's with the usual one, as the report says, or as settings beside it say."""
    sample = foreign_files.clip(openai=kind != "open_clip")
    file = tmp_path / "open_clip_pytorch_model.bin"
    if kind == "described":  # a file that was trained from OpenAI's
        for name in ("input_resolution", "context_length", "vocab_size"):
            del sample.state[name]
        (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {"quick_gelu": true}}')
    torch.save(sample.state, file)
    backbone, checkpoint = loaded(tmp_path if kind == "described" else file)
    same(backbone, sample)
    assert checkpoint.imported is not None and bool(checkpoint.imported.notes) == (kind == "open_clip")


def test_value_m3ae_with_a_roberta(tmp_path: Path) -> None:
    sample = foreign_files.m3ae(roberta=True)
    torch.save(sample.state, tmp_path / "a.ckpt")
    same(loaded(tmp_path / "a.ckpt")[0], sample)


WRONG: dict[str, tuple[Callable[[], Sample], str, str]] = {
    "mae": (foreign_files.mae, r"pos_embed", r"of no known family .*its first tensors: cls_token, patch_embed"),
    "mrm": (foreign_files.mrm, r".*layer\.1\..*", r"fits 77% of part 'text': .* 16 of 69 missing .*first: text\.bert"),
    "mgca": (foreign_files.mgca, r"text_encoder_q\.local_embed\.head\.4\.running_var", "marks of MGCA, but not all"),
    "gloria": (foreign_files.gloria, r"gloria\.img_encoder\.local_embedder\.weight", "marks of GLoRIA, but not all"),
    "convirt": (foreign_files.convirt, r"bert_l2\.weight", "marks of ConVIRT, but not all"),
    "biovil": (lambda: foreign_files.biovil()[0], r"projector\.model\.1\.running_mean", "marks of BioViL, but not all"),
    "m3ae": (foreign_files.m3ae, r"multi_modal_language_proj\.weight", "marks of M3AE, but not all"),
    "m3ae_fusion": (foreign_files.m3ae, r"multi_modal_vision_layers.*", r"fits 69% of part 'fusion'"),
    "open_clip": (
        foreign_files.open_clip,
        r"visual\.head\.proj\.weight",
        "marks of open_clip: .* no linear projection",
    ),
    "clip": (lambda: foreign_files.clip(True), r"visual\.proj", "marks of open_clip, but not all"),
    "xrv": (foreign_files.one_channel, r"features\.denseblock3.*", r"of DenseNet .*: .* stages of \(6, 12, 0, 16\)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_error_a_file_of_each_family_that_lacks_something(tmp_path: Path, name: str) -> None:
    """One line says which file, which family, and what is not there."""
    make, absent, message = WRONG[name]
    held = make().state
    state = held.get("state_dict", held.get("model", held))
    kept = {key: value for key, value in state.items() if not re.fullmatch(absent, key)}
    torch.save(kept, tmp_path / "wrong.pth")
    with pytest.raises(UserError, match=message) as caught:
        mpma_lightning.load(tmp_path / "wrong.pth", device="cpu")
    assert "wrong.pth" in str(caught.value) and "\n" not in str(caught.value) and len(kept) < len(state)


def test_error_a_scripted_archive_names_the_command_that_converts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As which OpenAI publishes CLIP. The command is run, in this process: what it writes can be read."""
    module = nn.Linear(2, 2)
    torch.jit.trace(module, torch.zeros(1, 2)).save(str(tmp_path / "a.pt"))
    with pytest.raises(UserError, match=r"is a TorchScript archive, which holds code.*python -c") as caught:
        read_checkpoint(tmp_path / "a.pt")
    _, flag, script, *arguments = shlex.split(str(caught.value).partition("give instead: ")[2])
    monkeypatch.setattr(sys, "argv", [flag, *arguments])
    exec(script, {})
    assert torch.equal(read_checkpoint(tmp_path / "a.pt.safetensors").state["weight"], module.weight)
