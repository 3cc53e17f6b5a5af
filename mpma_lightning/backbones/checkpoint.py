"""Read a checkpoint file: ours, or any other file of tensors."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from data_modules.errors import UserError
from mpma_lightning.backbones.flat_spec import nested
from mpma_lightning.backbones.seal import damage
from mpma_lightning.backbones.spec import AlignSpec, BackboneSpec, FusionSpec, ImageSpec, TextSpec

CARGO = "mpma"
"""The key of a checkpoint under which a task stores what downstream tasks need."""


@dataclass
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        path: the file.
        state: tensor name to tensor; names of an MPMA checkpoint begin with the part (``image.`` …).
        spec: the backbone's, ``None`` for files of other code bases.
        tokenizer: tokeniser as JSON text, if carried.
        normalisation: (mean, std), if carried.
        step: optimiser steps taken, if known.
        text_config: of a published text encoder, if carried.
        heads: tensors of an MPMA checkpoint outside the backbone; names begin with the task's attribute.
    """

    path: Path
    state: dict[str, Tensor]
    spec: BackboneSpec | None = None
    tokenizer: str | None = None
    normalisation: tuple[float, float] | None = None
    step: int | None = None
    text_config: dict[str, Any] | None = None
    heads: dict[str, Tensor] = field(default_factory=dict)

    def head(self, name: str) -> dict[str, Tensor]:
        """The tensors of the module that the writing task called ``name``, wherever it was; empty without one."""
        found = {f".{full}".partition(f".{name}.")[2]: value for full, value in self.heads.items()}
        return {inside: value for inside, value in found.items() if inside}


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a Lightning checkpoint of ours, a ``.safetensors`` file, or any file of plain tensors.

    Raises:
        UserError: no such file, a file that is not a checkpoint, or one that is cut short.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "checkpoints" / "last.ckpt" if (path / "checkpoints").is_dir() else path
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist; give a .ckpt file, a .safetensors file or a run folder")
    content = read_file(path)
    if not isinstance(content, dict):
        raise UserError(f"checkpoint {path} holds a {type(content).__name__}, expected a dictionary of tensors")
    cargo = content.get(CARGO)
    state = next((content[k] for k in ("state_dict", "model", "module") if isinstance(content.get(k), dict)), content)
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(f"checkpoint {path} holds no tensors; keys found: {', '.join(map(str, list(content)[:8]))}")
    if cargo is None:
        return Checkpoint(path, {name.removeprefix("module."): value for name, value in tensors.items()})
    mine = {name.removeprefix("backbone."): v for name, v in tensors.items() if name.startswith("backbone.")}
    heads = {name: value for name, value in tensors.items() if not name.startswith("backbone.")}
    mean, std = cargo["normalisation"]
    spec, step = carried_spec(cargo), content.get("global_step")
    return Checkpoint(path, mine, spec, cargo["tokenizer"], (mean, std), step, cargo.get("text_config"), heads)


def carried_spec(cargo: dict[str, Any]) -> BackboneSpec:
    """The spec in the cargo of a checkpoint, also of one made before the parts of a spec were nested."""
    kinds = {"image": ImageSpec, "text": TextSpec, "fusion": FusionSpec, "align": AlignSpec}
    plain = nested(cargo["spec"])
    return BackboneSpec(**{key: kinds[key](**value) if key in kinds else value for key, value in plain.items()})


def read_file(path: Path, mmap: bool = False) -> Any:
    """The content of a ``.safetensors`` file or of what ``torch.save`` wrote, on the CPU; ``mmap`` reads lazily.

    Raises:
        UserError: neither of the two, cut short, or with other bytes than were written.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if reason := damage(path):
            raise ValueError(reason)
        return torch.load(path, "cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # every reader has its own exception types for a broken file
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"
        raise UserError(
            f"checkpoint {path} cannot be read ({reason}); it is damaged, cut short or not a checkpoint: copy it "
            "again, or give a file that torch.save or safetensors wrote"
        ) from error
