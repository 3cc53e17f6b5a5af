"""Plain ViTs with timm's names: MAE, DeiT, DINO, DINOv2's own files, fine-tuned ones, and folders of timm."""

from typing import Any

from mpma_lightning.backbones.importers.foreign import Family, Foreign, Imported, Normalisation, Table
from mpma_lightning.backbones.importers.vit_names import GATED, PREFIX, timm_vit, vit_spec
from mpma_lightning.backbones.spec import BackboneSpec, ImageSpec

_POOLS = {"avg": "mean", "token": "cls", "map": "map"}
_BLOCK = r"blocks\.(?:\d+\.)?(\d+)\."
DINOV2: Table = [
    (rf"{_BLOCK}mlp\.w12\.(weight|bias)", r"blocks.\1.mlp.fc1.\2"),
    (rf"{_BLOCK}mlp\.w3\.(weight|bias)", r"blocks.\1.mlp.fc2.\2"),
    (r"blocks\.\d+\.(\d+\..+)", r"blocks.\1"),
]
"""DINOv2's own names: gated layers, and blocks in chunks for FSDP."""
FC_NORM = "pooled before the last norm: that of the mean, fc_norm, is taken for a part of the classifier"
_NO_OPTIONS = ("img_size", "fc_norm", "num_classes", "global_pool", "dynamic_img_size")


def translate(foreign: Foreign) -> Imported:
    """An image encoder; decoders and classifiers are left out."""
    gated, config = any(".mlp.w12." in name for name in foreign.tensors), foreign.config
    foreign.tensors |= foreign.take(DINOV2)
    averaged = "norm.weight" not in foreign.tensors and "fc_norm.weight" in foreign.tensors
    state = timm_vit(foreign)
    if "architecture" not in config:
        pool = "mean_before_norm" if averaged else "cls" if f"{PREFIX}cls_token" in state else "mean"
        spec = vit_spec(state, pool, base=GATED) if gated else vit_spec(state, pool)
        return Imported(BackboneSpec(image=spec), state, notes=[FC_NORM] * averaged)
    return Imported(BackboneSpec(image=_described(config)), state, _normalisation(config))


def _described(config: dict[str, Any]) -> ImageSpec:
    """The image encoder that the ``config.json`` of a folder of timm describes."""
    arguments = dict(config.get("model_args") or {})
    side = arguments.get("img_size") or config["pretrained_cfg"]["input_size"][-1]
    pool = _POOLS.get(config.get("global_pool", "token"), "mean")
    if pool == "mean" and arguments.pop("final_norm", True) is False:
        pool = "mean_before_norm"
    options = {name: value for name, value in arguments.items() if name not in _NO_OPTIONS}
    return ImageSpec(f"timm/{config['architecture']}", side, options, stem="linear", pool=pool)  # type: ignore[arg-type]


def _normalisation(config: dict[str, Any]) -> Normalisation:
    mean, std = ([float(value) for value in config["pretrained_cfg"][key]] for key in ("mean", "std"))
    return (mean[0], std[0]) if len({*mean}) == len({*std}) == 1 else (mean, std)


FAMILY = Family(
    "ViT of timm, MAE or DINOv2",
    (
        *(r"patch_embed\.proj\.weight", r"pos_embed", r"blocks\.0\.(?:0\.)?attn\.qkv\.weight"),
        r"blocks\.0\.(?:0\.)?mlp\.(?:fc1|w12)\.weight",
    ),
    translate,
    unless=(r".*(?:relative_position_bias_table|rope|q_bias|fc1_g).*", r"patch_embed\.backbone\..*", r"dist_token"),
)
