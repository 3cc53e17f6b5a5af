"""Towers of CLIP: names of OpenAI and open_clip, and of transformers, below ``image.vit.`` and ``text.bert.``."""

from typing import Any

from torch import Tensor
from transformers import CLIPTextConfig

from mpma_lightning.backbones.importers.foreign import Foreign, Table, depth_of
from mpma_lightning.backbones.importers.vit_names import PREFIX, fuse_qkv, vit_spec
from mpma_lightning.backbones.spec import ImageSpec, TextSpec

NORMALISATION = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
TEXT = "text.bert."
END = r"\.(weight|bias)"
_BLOCK = r"transformer\.resblocks\.(\d+)\."
OPEN_VIT: Table = [
    (r"class_embedding", "cls_token"),
    (r"positional_embedding", "pos_embed"),
    (r"conv1\.weight", "patch_embed.proj.weight"),
    (rf"ln_pre{END}", r"norm_pre.\1"),
    (rf"ln_post{END}", r"norm.\1"),
    (rf"{_BLOCK}attn\.in_proj_(weight|bias)", r"blocks.\1.attn.qkv.\2"),
    (rf"{_BLOCK}attn\.out_proj{END}", r"blocks.\1.attn.proj.\2"),
    (rf"{_BLOCK}ln_([12]){END}", r"blocks.\1.norm\2.\3"),
    (rf"{_BLOCK}mlp\.c_fc{END}", r"blocks.\1.mlp.fc1.\2"),
    (rf"{_BLOCK}mlp\.c_proj{END}", r"blocks.\1.mlp.fc2.\2"),
]
OPEN_TEXT: Table = [
    (r"token_embedding\.weight", "embeddings.token_embedding.weight"),
    (r"positional_embedding", "embeddings.position_embedding.weight"),
    (rf"ln_final{END}", r"final_layer_norm.\1"),
    (rf"{_BLOCK}attn\.in_proj_(weight|bias)", r"encoder.layers.\1.self_attn.in_proj.\2"),
    (rf"{_BLOCK}attn\.out_proj{END}", r"encoder.layers.\1.self_attn.out_proj.\2"),
    (rf"{_BLOCK}ln_([12]){END}", r"encoder.layers.\1.layer_norm\2.\3"),
    (rf"{_BLOCK}mlp\.c_fc{END}", r"encoder.layers.\1.mlp.fc1.\2"),
    (rf"{_BLOCK}mlp\.c_proj{END}", r"encoder.layers.\1.mlp.fc2.\2"),
]
_LAYER = r"encoder\.layers\.(\d+)\."
HF_VIT: Table = [
    (r"embeddings\.class_embedding", "cls_token"),
    (r"embeddings\.position_embedding\.weight", "pos_embed"),
    (rf"embeddings\.patch_embedding{END}", r"patch_embed.proj.\1"),
    (rf"pre_layrnorm{END}", r"norm_pre.\1"),
    (rf"post_layernorm{END}", r"norm.\1"),
    (rf"{_LAYER}self_attn\.([qkv])_proj{END}", r"blocks.\1.attn.\2.\3"),
    (rf"{_LAYER}self_attn\.out_proj{END}", r"blocks.\1.attn.proj.\2"),
    (rf"{_LAYER}layer_norm([12]){END}", r"blocks.\1.norm\2.\3"),
    (rf"{_LAYER}mlp\.fc([12]){END}", r"blocks.\1.mlp.fc\2.\3"),
]


def vision(foreign: Foreign, table: Table, prefix: str) -> dict[str, Tensor]:
    """Take the image tower, below ``prefix``, out of ``foreign``."""
    state = foreign.take([(f"{prefix}{pattern}", new) for pattern, new in table], PREFIX)
    foreign.drop(r".*position_ids")
    fuse_qkv(state)
    if f"{PREFIX}cls_token" in state:
        state[f"{PREFIX}cls_token"] = state[f"{PREFIX}cls_token"].reshape(1, 1, -1)
    position = state[f"{PREFIX}pos_embed"]
    state[f"{PREFIX}pos_embed"] = position.reshape(1, *position.shape[-2:])
    return state


def vision_spec(state: dict[str, Tensor], activation: str, heads: int | None = None) -> ImageSpec:
    """The image encoder of a CLIP, pooled at its class token; ``activation`` is ``quick_gelu`` or ``gelu``."""
    quick = "_quickgelu" if activation == "quick_gelu" else ""
    return vit_spec(state, "cls", heads, f"vit_base_patch16_clip{quick}_224")


def open_text(foreign: Foreign, prefix: str) -> dict[str, Tensor]:
    """Take the text tower with open_clip's names, below ``prefix``, out of ``foreign``."""
    state = foreign.take([(f"{prefix}{pattern}", new) for pattern, new in OPEN_TEXT], TEXT)
    foreign.drop(r".*attn_mask")
    for name in [name for name in state if ".in_proj." in name]:
        stem, kind = name.split("in_proj.")
        parts = state.pop(name).chunk(3)
        state |= {f"{stem}{letter}_proj.{kind}": part.clone() for letter, part in zip("qkv", parts, strict=True)}
    return state


def text_config(state: dict[str, Tensor], activation: str, config: dict[str, Any] | None = None) -> dict[str, Any]:
    """Plain configuration of the text tower with the tensors ``state``; what ``config`` lacks is read off them."""
    words, width = state[f"{TEXT}embeddings.token_embedding.weight"].shape
    given = {key: value for key, value in (config or {}).items() if key in CLIPTextConfig().to_dict()}
    shapes = {
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": state[f"{TEXT}encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": depth_of(state, r"text\.bert\.encoder\.layers\.(\d+)\."),
        "max_position_embeddings": state[f"{TEXT}embeddings.position_embedding.weight"].shape[0],
    }
    usual = {"num_attention_heads": max(1, width // 64), "hidden_act": activation}
    chosen: dict[str, Any] = {**usual, **given, **shapes, "bos_token_id": words - 2, "eos_token_id": words - 1}
    return {**CLIPTextConfig(**chosen).to_dict(), "model_type": "clip_text_model"}


def text_spec(config: dict[str, Any]) -> TextSpec:
    """The text encoder of this configuration, pooled at the closing token."""
    width, depth, heads = (config[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads"))
    return TextSpec("hf/clip_text_model", width, depth, heads, "last", layers=1)
