"""Read checkpoint files of this project and other files of tensors."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from data_modules.boundary import read_json
from data_modules.errors import UserError, expect
from mpma_lightning.backbones.carried import carried_spec
from mpma_lightning.backbones.importers import Foreign, Imported, Normalisation, recognise
from mpma_lightning.backbones.importers.folders import opened_folder, tokenizer_of
from mpma_lightning.backbones.spec import BackboneSpec
from mpma_lightning.backbones.tensor_files import named_tensors, read_file

CARGO = "mpma"
"""Key of a checkpoint under which a task stores what other tasks need to use the weights."""


@dataclass
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        path: the file.
        state: tensors by name; names begin with the part, such as ``image.``, unless the file is of unknown origin.
        spec: that of the backbone; ``None`` in files of other code bases.
        tokenizer: tokeniser as JSON text, if stored.
        normalisation: mean and standard deviation of the pixels in [0, 1], if stored; one number or one a channel.
        step: number of optimiser steps, if stored.
        text_config: configuration of a published text encoder, if stored.
        heads: tensors outside the backbone, of a checkpoint of this project; names begin with the task's attribute.
        imported: what was found in a file of a known code base; its ``spec`` holds what that file determines.
    """

    path: Path
    state: dict[str, Tensor]
    spec: BackboneSpec | None = None
    tokenizer: str | None = None
    normalisation: Normalisation | None = None
    step: int | None = None
    text_config: dict[str, Any] | None = None
    heads: dict[str, Tensor] = field(default_factory=dict)
    imported: Imported | None = None

    @property
    def origin(self) -> str:
        """Which code base wrote the file, and the prefixes of wrappers; blank for this project and unknown ones."""
        if self.imported is None:
            return ""
        prefixes = f", below {''.join(self.imported.prefixes)}" if self.imported.prefixes else ""
        return f"{self.imported.family}{prefixes}"

    def determined(self, parts: Sequence[str] | None = None) -> BackboneSpec | None:
        """What a file of another code base says about ``parts`` (default: all) of the backbone, or ``None``."""
        if self.imported is None:
            return None
        spec, chosen = self.imported.spec, set(self.imported.parts if parts is None else parts)
        chosen |= {"align"} if {"align_global", "align_local"} & chosen else set()
        return BackboneSpec(
            **{part: getattr(spec, part) for part in ("image", "text", "fusion", "align") if part in chosen}
        )

    def head(self, name: str) -> dict[str, Tensor]:
        """The tensors of the module called ``name`` at any depth of the task that was saved; empty without one."""
        found = {f".{full}".partition(f".{name}.")[2]: value for full, value in self.heads.items()}
        return {inside: value for inside, value in found.items() if inside}


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint or run folder of this project, or a file or folder of another code base.

    Of other code bases: a file of tensors that ``torch.save`` or safetensors wrote, and the folders of transformers,
    open_clip and timm. The families in :data:`mpma_lightning.backbones.importers.FAMILIES` get this project's names.

    Raises:
        UserError: the file does not exist, is not a checkpoint, or is damaged.
    """
    path = Path(path)
    if path.is_dir() and (path / "checkpoints").is_dir():
        path = path / "checkpoints" / "last.ckpt"
    if (path / f"{CARGO}.json").is_file():  # what `export --to safetensors` wrote
        cargo = read_json(path / f"{CARGO}.json", "the settings of an export")
        weights = path / "model.safetensors"
        return Checkpoint(weights, named_tensors(read_file(weights), weights), **read_cargo(cargo, path))
    if path.is_dir():
        return _imported(*opened_folder(path))
    if not path.is_file():
        raise UserError(
            f"checkpoint {path} does not exist; give a .ckpt, .pth or .safetensors file, a run folder, or a folder of "
            "transformers, open_clip or timm"
        )
    content = read_file(path)
    tensors = named_tensors(content, path)
    cargo = content.get(CARGO)
    if cargo is None:
        return _imported(path, Foreign(tensors, tokenizer=tokenizer_of(path.parent)))
    mine = {name.removeprefix("backbone."): v for name, v in tensors.items() if name.startswith("backbone.")}
    heads = {name: value for name, value in tensors.items() if not name.startswith("backbone.")}
    return Checkpoint(path, mine, step=content.get("global_step"), heads=heads, **read_cargo(cargo, path))


def _imported(path: Path, foreign: Foreign) -> Checkpoint:
    """A checkpoint of another code base, with this project's names if its family is known."""
    found = recognise(foreign, path)
    if found is None:
        state = {name.removeprefix("module."): value for name, value in foreign.tensors.items()}
        return Checkpoint(path, state)
    return Checkpoint(
        path,
        found.state,
        tokenizer=found.tokenizer,
        normalisation=found.normalisation,
        text_config=found.text_config,
        imported=found,
    )


def read_cargo(cargo: Any, path: Path) -> dict[str, Any]:
    """Check what a task of this project stores besides the tensors, and return it as fields of :class:`Checkpoint`.

    Raises:
        UserError: a field is of another type than a task writes.
    """
    where = f"checkpoint {path}: its"
    expect(isinstance(cargo, dict), f"{where} {CARGO!r} entry", type(cargo).__name__, "a mapping")
    tokenizer, normalisation, config = (cargo.get(key) for key in ("tokenizer", "normalisation", "text_config"))
    expect(tokenizer is None or isinstance(tokenizer, str), f"{where} tokenizer", type(tokenizer).__name__, "JSON text")
    two = isinstance(normalisation, list | tuple) and len(normalisation) == 2 and all(map(_of_pixels, normalisation))
    expect(two, f"{where} normalisation", normalisation, "mean and standard deviation")
    expect(config is None or isinstance(config, dict), f"{where} text_config", type(config).__name__, "a mapping")
    mean, std = normalisation
    spec = carried_spec(cargo, path)
    return {"spec": spec, "tokenizer": tokenizer, "normalisation": (mean, std), "text_config": config}


def _of_pixels(value: object) -> bool:
    """Whether it is one number, or one for each of three channels."""
    channels = value if isinstance(value, list) and len(value) == 3 else [value]
    return all(type(channel) is float for channel in channels)
