"""Small files and folders of every importer, where ``experiments/sweeps/importers.yaml`` looks for them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foreign_files
import torch
from foreign_files import BERT, lively
from transformers import CLIPConfig, CLIPModel, Dinov2Config, Dinov2Model, SiglipConfig, SiglipModel

from data_modules.text.tokenizer import Tokenizer

SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
VIT = {**SIZES, "image_size": 32, "patch_size": 8}
FILES: dict[str, Callable[[], Any]] = {
    "mae/mae_pretrain_vit_base.pth": lambda: foreign_files.mae().state,
    "mrm/MRM.pth": lambda: foreign_files.mrm().state,
    "mgca_vit/vit_base.ckpt": lambda: foreign_files.mgca().state,
    "mgca_resnet/resnet_50.ckpt": lambda: foreign_files.mgca(of_vit=False).state,
    "gloria/chexpert_resnet50.safetensors": lambda: foreign_files.gloria().state,
    "convirt/model.pth": lambda: foreign_files.convirt().state,
    "biovil/biovil_image_resnet50_proj_size_128.pt": lambda: foreign_files.biovil()[0].state,
    "cxr-bert/biovil_image_resnet50_proj_size_128.pt": lambda: foreign_files.biovil()[0].state,
    "cxr-bert/pytorch_model.bin": lambda: foreign_files.biovil()[1],
    "m3ae/m3ae.ckpt": lambda: foreign_files.m3ae().state,
    "biomedclip/open_clip_pytorch_model.bin": lambda: foreign_files.open_clip().state,
    "resnet/resnet50.pth": lambda: foreign_files.resnet().state_dict(),
    "torchxrayvision/densenet121.safetensors": lambda: foreign_files.one_channel().state,
}


def write_foreign(folder: Path, tokenizer: Tokenizer) -> None:
    """Write them all; ``tokenizer``, of at most 400 pieces, lies beside those with texts."""
    for name, make in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        state = make()
        if name.endswith(".safetensors"):  # as the conversion of pickled files leaves it
            from safetensors.torch import save_file

            flat = state.get("state_dict", state)
            save_file({key: value.clone().contiguous() for key, value in flat.items()}, folder / name)
        else:
            torch.save(state, folder / name)
    (folder / "cxr-bert" / "config.json").write_text(json.dumps({**BERT.to_dict(), "model_type": "cxr-bert"}))
    ends = {"bos_token_id": tokenizer.cls_id, "eos_token_id": tokenizer.sep_id, "pad_token_id": tokenizer.pad_id}
    words = {**SIZES, "intermediate_size": 96, "vocab_size": 400, "max_position_embeddings": 128, **ends}
    vision = {**VIT, "intermediate_size": 96}
    models: dict[str, Callable[[], Any]] = {
        "rad-dino": lambda: Dinov2Model(Dinov2Config(**VIT)),
        "clip-vit-base-patch16": lambda: CLIPModel(
            CLIPConfig(text_config=words, vision_config=vision, projection_dim=16)
        ),
        "medsiglip": lambda: SiglipModel(
            SiglipConfig(text_config={**SIZES, "intermediate_size": 96, "vocab_size": 60}, vision_config=vision)
        ),
    }
    for name, model in models.items():
        torch.manual_seed(0)
        lively(model()).save_pretrained(folder / name)
    for place in folder.iterdir():
        (place / "tokenizer.json").write_text(tokenizer.to_json())
