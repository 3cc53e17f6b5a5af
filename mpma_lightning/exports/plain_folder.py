"""Every part of a checkpoint as one file of safetensors with its settings."""

import json
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import save_file

from mpma_lightning.backbones.checkpoint import CARGO
from mpma_lightning.inference import Model


def write_plain(model: Model, out: Path) -> None:
    """Write ``model.safetensors`` (names begin with the part) and ``mpma.json``, which ``model.checkpoint`` reads."""
    state = {name: value.contiguous().clone() for name, value in model.backbone.state_dict().items()}
    save_file(state, out / "model.safetensors")
    cargo = {
        "task": "export",
        "spec": asdict(model.backbone.spec),
        "tokenizer": model.tokenizer.to_json() if model.tokenizer else None,
        "normalisation": list(model.normalisation),
        "text_config": model.backbone.text_config,
    }
    (out / f"{CARGO}.json").write_text(json.dumps(cargo, indent=1) + "\n")
