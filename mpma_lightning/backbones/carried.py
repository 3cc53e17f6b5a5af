"""The backbone spec in a checkpoint: checked field by field, since the file may come from anywhere."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from data_modules.errors import UserError, expect
from mpma_lightning.backbones.flat_spec import BEFORE, nested
from mpma_lightning.backbones.registry import REGISTRY, SETTINGS
from mpma_lightning.backbones.spec import AlignSpec, BackboneSpec, FusionSpec, ImageSpec, TextSpec
from mpma_lightning.backbones.spec_check import check_spec

_PARTS = {"image": ImageSpec, "text": TextSpec, "fusion": FusionSpec, "align": AlignSpec}
_PREFIXED = {
    "image": (
        re.compile(r"timm/\w+(\.\w+)?"),
        "timm/ and the name of one of timm's architectures",
    ),  # no hub, no folder
    "text": (re.compile(r"hf/.+"), "hf/ and a name"),  # opened only as refuse_foreign_sources allows
}
"""Names besides the registered ones that a checkpoint may hold, by kind of part."""
_LONGEST = 1000


def carried_spec(cargo: Mapping[str, Any], path: str | Path = "") -> BackboneSpec:
    """The spec stored in a checkpoint, nested or in the older flat form.

    It may name registered parts and, as image encoder, an architecture of timm; other names that it contains are not
    downloaded or opened, see :func:`refuse_foreign_sources`.

    Args:
        cargo: what the task stored, with the spec as plain types.
        path: the checkpoint, for error messages.

    Raises:
        UserError: a field is unknown, of another type, out of range, or names an unknown part.
    """
    where = f"checkpoint {path}: its backbone"
    plain = cargo.get("spec")
    expect(isinstance(plain, Mapping), where, type(plain).__name__, "a mapping of names and numbers")
    assert isinstance(plain, Mapping)
    chosen: dict[str, Any] = {}
    for key, value in nested(plain).items():
        kind = _PARTS.get(key)
        if kind is None:
            known = key == "name" and isinstance(value, str)
            expect(known, f"{where}: field {str(key)[:40]!r}", repr(value)[:80], "no such field")
            chosen[key] = value
            continue
        expect(isinstance(value, Mapping), f"{where}.{key}", repr(value)[:80], "a mapping")
        unknown = [name for name in value if name not in {f.name for f in fields(kind)}]
        if unknown:
            raise UserError(f"{where} has a field {f'{key}.{unknown[0]}'[:80]!r}; expected only those of a backbone")
        chosen[key] = kind(**{**BEFORE.get(key, {}), **value})
    spec = BackboneSpec(**chosen)
    for key, value in spec.items():
        if isinstance(value, str):
            fits = len(value) <= _LONGEST and value.isprintable()
            expect(fits, f"{where}.{key}", repr(value)[:80], f"at most {_LONGEST} printable characters")
    check_spec(spec, where)
    named = dict(spec.items())
    for part in ("image", "text", "fusion"):
        _check_name(f"{where}.{SETTINGS[part]}", named[SETTINGS[part]], part)
    return spec


def _check_name(key: str, name: str | None, kind: str) -> None:
    """Refuse a part that is neither registered by exactly this name nor of an allowed family."""
    pattern, family = _PREFIXED.get(kind, (None, ""))
    known = REGISTRY.names(kind)
    fits = name is None or name in known or (pattern is not None and pattern.fullmatch(name) is not None)
    expect(fits, key, name, " or ".join(filter(None, [family, *known])))


def refuse_foreign_sources(
    path: str | Path, spec: BackboneSpec, built: Iterable[str], filled: Iterable[str], text_config: object
) -> None:
    """Refuse to download or open weights that only a checkpoint names, not the user.

    Args:
        path: the checkpoint.
        spec: the spec stored in it.
        built: parts of the backbone that will be built, encoders included.
        filled: parts whose weights are in the checkpoint.
        text_config: configuration of a published text encoder stored in the checkpoint, if any.

    Raises:
        UserError: with the setting that allows it.
    """
    unfilled = set(built) - set(filled)
    foreign = []
    if "image" in unfilled and spec.image.weights is not None:
        foreign.append(("image", f"weights: {spec.image.weights}"))
    if "text" in built and (spec.text.encoder or "").startswith("hf/") and ("text" in unfilled or text_config is None):
        foreign.append(("text", f"encoder: {spec.text.encoder}"))
    if foreign:
        part, setting = foreign[0]
        raise UserError(
            f"checkpoint {path} does not hold its {part} encoder but names its source ({setting}); sources in a "
            f"file are not opened: if you trust it, set model.backbone to {{name: {spec.name}, {part}: {{{setting}}}}}"
        )
