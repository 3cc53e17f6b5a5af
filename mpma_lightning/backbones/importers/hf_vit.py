"""ViT, ViTMAE, DINOv2 and DINOv2 with registers of transformers, such as RAD-DINO."""

from typing import Any

from mpma_lightning.backbones.importers.foreign import Family, Foreign, Imported, Normalisation, Table
from mpma_lightning.backbones.importers.vit_names import GATED, PREFIX, fold_class_position, fuse_qkv, vit_spec
from mpma_lightning.backbones.spec import BackboneSpec

ROOT = r"(?:vit\.|dinov2\.|dinov2_with_registers\.)?"
LAYER, END = rf"{ROOT}encoder\.layer\.(\d+)\.", r"\.(weight|bias)"
NAMES: Table = [
    (rf"{ROOT}embeddings\.cls_token", "cls_token"),
    (rf"{ROOT}embeddings\.position_embeddings", "pos_embed"),
    (rf"{ROOT}embeddings\.register_tokens", "reg_token"),
    (rf"{ROOT}embeddings\.patch_embeddings\.projection{END}", r"patch_embed.proj.\1"),
    *(
        (rf"{LAYER}attention\.attention\.{name}{END}", rf"blocks.\1.attn.{name[0]}.\2")
        for name in ("query", "key", "value")
    ),
    (rf"{LAYER}attention\.output\.dense{END}", r"blocks.\1.attn.proj.\2"),
    (rf"{LAYER}(?:layernorm_before|norm1){END}", r"blocks.\1.norm1.\2"),
    (rf"{LAYER}(?:layernorm_after|norm2){END}", r"blocks.\1.norm2.\2"),
    (rf"{LAYER}(?:intermediate\.dense|mlp\.fc1){END}", r"blocks.\1.mlp.fc1.\2"),
    (rf"{LAYER}(?:output\.dense|mlp\.fc2){END}", r"blocks.\1.mlp.fc2.\2"),
    (rf"{LAYER}layer_scale([12])\.lambda1", r"blocks.\1.ls\2.gamma"),
    (rf"{LAYER}mlp\.weights_in{END}", r"blocks.\1.mlp.fc1.\2"),
    (rf"{LAYER}mlp\.weights_out{END}", r"blocks.\1.mlp.fc2.\2"),
    (rf"{ROOT}layernorm{END}", r"norm.\1"),
]


def translate(foreign: Foreign) -> Imported:
    """An image encoder, pooled at its class token; decoder, pooler and mask token are left out."""
    gated = any("mlp.weights_in" in name for name in foreign.tensors)
    state = foreign.take(NAMES, PREFIX)
    fuse_qkv(state)
    if f"{PREFIX}reg_token" in state:
        fold_class_position(state)
    heads = foreign.config.get("num_attention_heads")
    base = GATED if gated else "vit_base_patch16_224"
    eps = foreign.config.get("layer_norm_eps")
    spec = BackboneSpec(image=vit_spec(state, "cls", heads, base, norm_eps=None if eps is None else float(eps)))
    return Imported(spec, state, normalisation_of(foreign.config))


def normalisation_of(config: dict[str, Any]) -> Normalisation | None:
    """Mean and standard deviation in ``preprocessor_config.json``, which reading a folder adds to its configuration."""
    found = config.get("preprocessor") or {}
    if not found.get("do_normalize", True) or "image_mean" not in found or "image_std" not in found:
        return None
    mean, std = ([float(value) for value in found[key]] for key in ("image_mean", "image_std"))
    return (mean[0], std[0]) if len({*mean}) == len({*std}) == 1 else (mean, std)


FAMILY = Family(
    "ViT or DINOv2 of transformers",
    (
        rf"{ROOT}embeddings\.patch_embeddings\.projection\.weight",
        rf"{ROOT}embeddings\.cls_token",
        rf"{ROOT}encoder\.layer\.0\.attention\.attention\.query\.weight",
    ),
    translate,
)
