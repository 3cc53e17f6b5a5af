"""Reads files of tensors, of this project and of others, without running code that they may contain."""

import argparse
import re
import shlex
import warnings
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from data_modules.errors import UserError
from mpma_lightning.backbones.seal import damage

_NUMBERS = (np.float64, np.float32, np.float16, np.int64, np.int32, np.int16, np.int8, np.uint64, np.uint8, np.bool_)
HARMLESS: tuple[Any, ...] = (
    argparse.Namespace,
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),  # as numpy 1 wrote it
    np.dtype,
    *(type(np.dtype(number)) for number in _NUMBERS),
)
"""Types without code of their own that published checkpoints contain besides tensors."""
_MODELS = ("state_dict", "model_state_dict", "model", "module")
"""Keys under which training programs store a model."""


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
        with torch.serialization.safe_globals(list(HARMLESS)), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*TorchScript archive")  # which the error below says
            return torch.load(path, "cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # every reader has its own exception types for a broken file
        if isinstance(error, UnpicklingError) and (held := _pickled(path, str(error))):
            raise UserError(
                f"checkpoint {path} holds pickled objects of {', '.join(held)}, and reading those can run code that is "
                "in the file; expected tensors and plain values. Where you trust it, and those classes are installed, "
                f"this writes its tensors alone to a file that can be given instead: {convert_command(path)}"
            ) from error
        if "TorchScript" in str(error):
            raise UserError(
                f"checkpoint {path} is a TorchScript archive, which holds code; expected tensors and plain values. "
                f"Where you trust it, this writes its tensors to a file to give instead: {convert_command(path)}"
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


def convert_command(path: Path) -> str:
    """The command by which a user who trusts a pickled file writes its tensors to ``<path>.safetensors``."""
    script = (
        "import sys, torch; from safetensors.torch import save_file; "
        "found = torch.load(sys.argv[1], 'cpu', weights_only=False); "
        "found = found if isinstance(found, dict) else found.state_dict(); "
        "found = next((found[k] for k in ('state_dict', 'model') if isinstance(found.get(k), dict)), found); "
        "save_file({k: v.clone() for k, v in found.items() if torch.is_tensor(v)}, sys.argv[1] + '.safetensors')"
    )
    return f'python -c "{script}" {shlex.quote(str(path))}'


def named_tensors(content: Any, path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, those of nested dictionaries below their keys, such as ``teacher.``.

    Where a training program put its model under ``state_dict``, ``model`` or ``module``, only what is there counts.

    Raises:
        UserError: there are none.
    """
    if not isinstance(content, dict):
        raise UserError(f"checkpoint {path} holds a {type(content).__name__}, expected a dictionary of tensors")
    state = next((content[key] for key in _MODELS if isinstance(content.get(key), dict)), content)
    tensors: dict[str, Tensor] = {}
    for name, value in state.items():
        inner = value.items() if isinstance(value, dict) else ()
        tensors |= {name: value} if isinstance(value, Tensor) else {}
        tensors |= {f"{name}.{key}": held for key, held in inner if isinstance(held, Tensor)}
    if not tensors:
        raise UserError(f"checkpoint {path} holds no tensors; keys found: {', '.join(map(str, list(content)[:8]))}")
    return tensors
