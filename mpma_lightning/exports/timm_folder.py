"""The image encoder as a folder of timm."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from data_modules.errors import UserError
from mpma_lightning.backbones.families import FAMILIES, family_of
from mpma_lightning.inference import Model

_GLOBAL = {"mean": "avg", "cls": "token", "map": "map", "mean_before_norm": "avg"}


def write_image(model: Model, out: Path) -> None:
    """Write ``model.safetensors`` and ``config.json`` as timm's hub has them.

    ``forward_features`` gives the tokens and ``forward`` the pooled feature of :class:`Model`.

    Raises:
        UserError: there is no image encoder, or timm cannot express it.
    """
    if "image" not in model.parts:
        raise UserError(f"{model.path} holds {', '.join(model.parts)}, no image encoder; export --to transformers")
    spec, encoder = model.backbone.spec.image, model.backbone.image
    source, _, name = (spec.encoder or "").partition("/")
    architecture = name.partition(".")[0]
    family = family_of(architecture) if source == "timm" else None
    own = [f"stem: {spec.stem}"] if spec.stem not in (None, "linear") and family is not None and family.pooled else []
    own += ["options.norm_eps"] if "norm_eps" in (spec.options or {}) else []
    if family is None or own:
        what = f"image.encoder: {spec.encoder}" if family is None else f"image.{own[0]}"
        raise UserError(f"timm has no encoder with {what}; export --to safetensors, which model.checkpoint reads")
    state = {key.partition(".")[2]: value.contiguous() for key, value in encoder.state_dict().items()}  # type: ignore[attr-defined]
    arguments: dict[str, Any] = dict(spec.options or {})
    pool = ""
    if family.pooled:
        pool = spec.pool or "mean"
        arguments |= {"fc_norm": False, "global_pool": _GLOBAL[pool]}
        if pool == "mean_before_norm":
            arguments["final_norm"] = False
            state = {key: value for key, value in state.items() if not key.startswith("norm.")}
    if family.sized:
        arguments["img_size"] = spec.size
    save_file(_unshared(state), out / "model.safetensors")
    mean, std = ([x] * 3 if isinstance(x, float) else list(x) for x in model.normalisation)
    side = spec.size or 224
    config = {
        "architecture": architecture,
        "num_classes": 0,
        "num_features": encoder.width,
        **({"global_pool": _GLOBAL[pool]} if pool else {}),
        "model_args": arguments,
        "pretrained_cfg": {
            "input_size": [3, side, side],
            "fixed_input_size": family not in (FAMILIES["resnet"],),
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": mean,
            "std": std,
            "num_classes": 0,
        },
    }
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def _unshared(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}
