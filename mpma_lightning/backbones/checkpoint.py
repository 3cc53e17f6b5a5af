"""Read checkpoint files of this project and other files of tensors."""

import argparse
import re
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from data_modules.errors import UserError, expect
from mpma_lightning.backbones.carried import carried_spec
from mpma_lightning.backbones.seal import damage
from mpma_lightning.backbones.spec import BackboneSpec

CARGO = "mpma"
"""Key of a checkpoint under which a task stores what other tasks need to use the weights."""

_NUMBERS = (np.float64, np.float32, np.float16, np.int64, np.int32, np.int16, np.int8, np.uint64, np.uint8, np.bool_)
HARMLESS: tuple[Any, ...] = (
    argparse.Namespace,
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),  # as numpy 1 wrote it
    np.dtype,
    *(type(np.dtype(number)) for number in _NUMBERS),
)
"""Types without code of their own that published checkpoints contain besides tensors."""


@dataclass
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        path: the file.
        state: tensors by name; in a checkpoint of this project names begin with the part, such as ``image.``.
        spec: that of the backbone; ``None`` in files of other code bases.
        tokenizer: tokeniser as JSON text, if stored.
        normalisation: mean and standard deviation of the gray values, if stored.
        step: number of optimiser steps, if stored.
        text_config: configuration of a published text encoder, if stored.
        heads: tensors outside the backbone, of a checkpoint of this project; names begin with the task's attribute.
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
        """The tensors of the module called ``name`` at any depth of the task that was saved; empty without one."""
        found = {f".{full}".partition(f".{name}.")[2]: value for full, value in self.heads.items()}
        return {inside: value for inside, value in found.items() if inside}


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint or run folder of this project, a ``.safetensors`` file, or any file of plain tensors.

    Raises:
        UserError: the file does not exist, is not a checkpoint, or is damaged.
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
    return Checkpoint(path, mine, step=content.get("global_step"), heads=heads, **read_cargo(cargo, path))


def read_cargo(cargo: Any, path: Path) -> dict[str, Any]:
    """Check what a task of this project stores besides the tensors, and return it as fields of :class:`Checkpoint`.

    Raises:
        UserError: a field is of another type than a task writes.
    """
    where = f"checkpoint {path}: its"
    expect(isinstance(cargo, dict), f"{where} {CARGO!r} entry", type(cargo).__name__, "a mapping")
    tokenizer, normalisation, config = (cargo.get(key) for key in ("tokenizer", "normalisation", "text_config"))
    expect(tokenizer is None or isinstance(tokenizer, str), f"{where} tokenizer", type(tokenizer).__name__, "JSON text")
    two = isinstance(normalisation, list | tuple) and [type(value) for value in normalisation] == [float, float]
    expect(two, f"{where} normalisation", normalisation, "mean and standard deviation")
    expect(config is None or isinstance(config, dict), f"{where} text_config", type(config).__name__, "a mapping")
    mean, std = normalisation
    spec = carried_spec(cargo, path)
    return {"spec": spec, "tokenizer": tokenizer, "normalisation": (mean, std), "text_config": config}


def read_file(path: Path, mmap: bool = False) -> Any:
    """The content of a file that safetensors or ``torch.save`` wrote, on the CPU; ``mmap`` reads it lazily.

    No code in the file is run. Besides tensors and plain types it may contain the types in ``HARMLESS``.

    Raises:
        UserError: the file is of neither format, contains other pickled objects, or is damaged.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if reason := damage(path):
            raise ValueError(reason)
        with torch.serialization.safe_globals(list(HARMLESS)):
            return torch.load(path, "cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # every reader has its own exception types for a broken file
        if isinstance(error, UnpicklingError) and (held := _pickled(path, str(error))):
            raise UserError(
                f"checkpoint {path} holds pickled objects of {', '.join(held)}, and reading those could run code; "
                "expected tensors and plain values. Where you trust the file, save its tensors alone with safetensors"
            ) from error
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"
        raise UserError(
            f"checkpoint {path} cannot be read ({reason}); it is damaged, cut short or not a checkpoint: copy it "
            "again, or give a file that torch.save or safetensors wrote"
        ) from error


def _pickled(path: Path, message: str) -> list[str]:
    """Names of the pickled types in a file that are not in ``HARMLESS``; at most three."""
    try:
        with torch.serialization.safe_globals(list(HARMLESS)):
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))[:3]
    except Exception:  # of torch's formats only the archive can be listed
        return re.findall(r"(?i)unsupported (?:global: )?(?:GLOBAL|class) (\S+)", message)[:1]
