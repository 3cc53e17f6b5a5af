"""Why open_clip cannot hold a dual encoder of this project."""

from pathlib import Path
from typing import NoReturn

from data_modules.errors import UserError
from mpma_lightning.inference import Model

_HEADS = {
    "mlp": "linear, LayerNorm, ReLU, linear",
    "relu": "linear, ReLU, linear",
    "gelu": "linear, GELU, linear, with biases",
    "gelu_norm": "linear, GELU, LayerNorm, linear",
    "linear": "linear, with bias",
    "none": "no head",
}


def write_open_clip(model: Model, out: Path) -> NoReturn:
    """Write nothing: ``CustomTextCLIP`` builds its towers from names, and has no place for what ours end in.

    Its head of a text tower is a linear layer, or linear, GELU, linear, all without biases, after an encoder that a
    hub name or folder of transformers names. Ours have biases, most a LayerNorm, and the similarities of local
    alignment and of fusion are in no CLIP.

    Raises:
        UserError: always; it names the heads of this model, and what to export in their place.
    """
    held = ", ".join(model.parts)
    if "align_global" not in model.parts:
        raise UserError(f"{model.path} holds {held}; open_clip needs two towers and global alignment")
    align = model.backbone.spec.align
    found = " and ".join(
        dict.fromkeys(f"{_HEADS[kind]} ({side})" for side, kind in
                      (("image", align.image_head or "mlp"), ("text", align.text_head or "mlp")))
    )  # fmt: skip
    lost = [part for part in ("align_local", "fusion") if part in model.parts]
    more = f", and it has no {' and no '.join(lost)}" if lost else ""
    raise UserError(
        f"open_clip cannot express the heads of {model.path}: {found}; its text heads have no biases and no "
        f"LayerNorm{more}. Export --to timm and --to transformers for the encoders, or --to safetensors for everything"
    )
