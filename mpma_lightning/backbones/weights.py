"""Read any checkpoint, map its tensors to a backbone's parts, report, refuse a poor match."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from data_modules.errors import UserError
from mpma_lightning.backbones import Backbone, BackboneSpec

CARGO = "mpma"  # the key under which a task stores what downstream tasks need
LEAST_MATCH = 0.9
DECISIVE = ("word_embeddings", "patch_embed")  # where input enters: random, they make the rest worthless
ADVICE = (
    "Use the backbone the checkpoint was made with (leave model.backbone out to take it from the file), or name in "
    "model.checkpoint_parts the parts to take"
)


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
    spec, step = BackboneSpec(**cargo["spec"]), content.get("global_step")
    return Checkpoint(path, mine, spec, cargo["tokenizer"], (mean, std), step, cargo.get("text_config"), heads)


def read_file(path: Path, mmap: bool = False) -> Any:
    """The content of a ``.safetensors`` file or of what ``torch.save`` wrote, on the CPU; ``mmap`` reads lazily.

    Raises:
        UserError: neither of the two, or cut short.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, "cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # every reader has its own exception types for a broken file
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"
        raise UserError(
            f"checkpoint {path} cannot be read ({reason}); it is cut short or not a checkpoint: copy it again, or give "
            "a file that torch.save or safetensors wrote"
        ) from error


@dataclass
class PartReport:
    """How one part of the backbone was filled."""

    matched: int = 0
    resized: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.matched + len(self.resized) + len(self.missing) + len(self.mismatched)

    @property
    def share(self) -> float:
        return (self.matched + len(self.resized)) / max(1, self.total)

    @property
    def fits(self) -> bool:
        """Enough of the names found, those of ``DECISIVE`` among them, and every tensor found of the right shape."""
        lacks_entry = any(word in name for name in self.missing for word in DECISIVE)
        return self.share >= LEAST_MATCH and not self.mismatched and not lacks_entry


def load_weights(
    backbone: Backbone, checkpoint: Checkpoint, tokenizer: str | None = None, parts: Sequence[str] | None = None
) -> dict[str, PartReport]:
    """Fill the parts of ``backbone`` from ``checkpoint`` and print what matched.

    Position embeddings are resampled to another grid and vocabulary rows are moved by token; both count
    as resized. A part is refused, with nothing loaded, when a tensor has another shape, when the word or the patch
    embedding is missing, or when less than 90 % of the tensors fit.

    Args:
        backbone: filled in place.
        checkpoint: see :func:`read_checkpoint`.
        tokenizer: the tokeniser in use, as JSON text, when it may differ from the checkpoint's.
        parts: only these; the others keep their random start. ``None`` fills every part built.

    Raises:
        UserError: a poor match; the message names the part and the first tensors that did not fit. Or ``parts``
            names one that is not built.
    """
    if unbuilt := [part for part in parts or () if part not in backbone.parts]:
        raise UserError(f"model.checkpoint_parts names {unbuilt[0]!r}; this task builds {', '.join(backbone.parts)}")
    return fill({p: getattr(backbone, p) for p in (backbone.parts if parts is None else parts)}, checkpoint, tokenizer)


def fill(
    modules: Mapping[str, nn.Module], checkpoint: Checkpoint, tokenizer: str | None = None, advice: str = ADVICE
) -> dict[str, PartReport]:
    """:func:`load_weights` for modules by the name of their part; ``advice`` ends the message of a poor match."""
    plans: dict[str, dict[str, Tensor]] = {part: {} for part in modules}
    reports = {part: PartReport() for part in modules}
    for part, report in reports.items():
        for name, target in modules[part].state_dict().items():
            full, found = f"{part}.{name}", _find(checkpoint, part, name)
            if found is None and name.endswith("num_batches_tracked"):
                continue  # a counter that old files lack and nothing reads
            if found is None:
                report.missing.append(full)
            elif found.shape == target.shape and not _moves_rows(full, checkpoint, tokenizer):
                plans[part][name] = found
                report.matched += 1
            elif (resized := _resize(full, found, target, checkpoint, tokenizer)) is not None:
                plans[part][name] = resized
                report.resized.append(full)
            else:
                report.mismatched.append(f"{full} {tuple(found.shape)} → {tuple(target.shape)}")
    _print_report(checkpoint, reports)
    for part, report in reports.items():
        if not report.fits:
            first = (report.mismatched + report.missing)[:3]
            raise UserError(
                f"checkpoint {checkpoint.path} fits {report.share:.0%} of part '{part}': {len(report.mismatched)} "
                f"tensors of another shape (none may be), {len(report.missing)} of {report.total} missing (at most "
                f"{1 - LEAST_MATCH:.0%} may be, and no {' or '.join(DECISIVE)}); first: {'; '.join(first)}. {advice}"
            )
    for part, plan in plans.items():
        modules[part].load_state_dict(modules[part].state_dict() | plan)
    return reports


def _find(checkpoint: Checkpoint, part: str, name: str) -> Tensor | None:
    """The tensor for ``part.name``: under our own name, or under the bare name timm and transformers use."""
    bare = name.split(".", 1)[1] if "." in name else name
    candidates = [f"{part}.{name}"]
    if checkpoint.spec is None and part in ("image", "text"):
        candidates += [name, bare, f"bert.{bare}", f"encoder.{bare}"]
    return next((checkpoint.state[c] for c in candidates if c in checkpoint.state), None)


def _moves_rows(name: str, checkpoint: Checkpoint, tokenizer: str | None) -> bool:
    different = tokenizer is not None and checkpoint.tokenizer is not None and tokenizer != checkpoint.tokenizer
    return "word_embeddings" in name and different


def _resize(name: str, found: Tensor, target: Tensor, checkpoint: Checkpoint, tokenizer: str | None) -> Tensor | None:
    """``found`` in the shape of ``target`` where that has a meaning, else ``None``."""
    if name.endswith("pos_embed") and found.ndim == 3 and found.shape[-1] == target.shape[-1]:
        prefix = next(p for p in range(16) if round((target.shape[1] - p) ** 0.5) ** 2 == target.shape[1] - p)
        side = round((target.shape[1] - prefix) ** 0.5)
        if math.isqrt(patches := max(0, found.shape[1] - prefix)) ** 2 != patches:
            return None
        return resample_abs_pos_embed(found, new_size=[side, side], num_prefix_tokens=prefix)
    if "word_embeddings" in name and found.shape[-1] == target.shape[-1] and tokenizer and checkpoint.tokenizer:
        old = json.loads(checkpoint.tokenizer)["model"]["vocab"]
        new = json.loads(tokenizer)["model"]["vocab"]
        rows = target.clone()
        for token, row in new.items():
            if token in old:
                rows[row] = found[old[token]]
        return rows
    return None


def _print_report(checkpoint: Checkpoint, reports: dict[str, PartReport]) -> None:
    table = Table(title=f"weights from {checkpoint.path}", title_justify="left")
    for column in ("part", "matched", "resized", "missing", "other shape"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for part, r in reports.items():
        table.add_row(part, f"{r.matched}/{r.total}", *(str(len(x)) for x in (r.resized, r.missing, r.mismatched)))
    Console(stderr=True).print(table)
