"""What a checkpoint says of its backbone: anybody may have written it, so every field is checked before it is used."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from data_modules.errors import UserError, expect
from mpma_lightning.backbones.flat_spec import nested
from mpma_lightning.backbones.spec import AlignSpec, BackboneSpec, FusionSpec, ImageSpec, TextSpec
from mpma_lightning.backbones.spec_check import check_spec

_PARTS = {"image": ImageSpec, "text": TextSpec, "fusion": FusionSpec, "align": AlignSpec}
_TIMM_NAME = re.compile(r"timm/\w+(\.\w+)?")  # no hub address, no folder
_LONGEST = 1000


def carried_spec(cargo: Mapping[str, Any], path: str | Path = "") -> BackboneSpec:
    """The spec in the cargo of a checkpoint, also of one made before the parts of a spec were nested.

    It names a timm architecture at most; nothing it says is fetched or opened, see :func:`refuse_foreign_sources`.

    Args:
        cargo: with the spec as plain types.
        path: of the checkpoint, for messages.

    Raises:
        UserError: a field that no spec has, of another type, out of bounds, or an address.
    """
    where = f"checkpoint {path}: its backbone"
    plain = cargo.get("spec")
    expect(isinstance(plain, Mapping), where, type(plain).__name__, "a mapping of names and numbers")
    assert isinstance(plain, Mapping)
    chosen: dict[str, Any] = {}
    for key, value in nested(plain).items():
        kind = _PARTS.get(key)
        if kind is None:
            expect(
                key == "name" and isinstance(value, str),
                f"{where}: field {str(key)[:40]!r}",
                repr(value)[:80],
                "no such field",
            )
            chosen[key] = value
            continue
        expect(isinstance(value, Mapping), f"{where}.{key}", repr(value)[:80], "a mapping")
        unknown = [name for name in value if name not in {f.name for f in fields(kind)}]
        if unknown:
            raise UserError(f"{where} has a field {f'{key}.{unknown[0]}'[:80]!r}; expected only those of a backbone")
        chosen[key] = kind(**value)
    spec = BackboneSpec(**chosen)
    for key, value in spec.items():
        if isinstance(value, str):
            fits = len(value) <= _LONGEST and value.isprintable()
            expect(fits, f"{where}.{key}", repr(value)[:80], f"at most {_LONGEST} printable characters")
    check_spec(spec, where)
    encoder = spec.image.encoder
    named = encoder is None or _TIMM_NAME.fullmatch(encoder) is not None
    expect(named, f"{where}.image.encoder", encoder, "timm/ and the name of one of timm's architectures")
    return spec


def refuse_foreign_sources(
    path: str | Path, spec: BackboneSpec, built: Iterable[str], filled: Iterable[str], text_config: object
) -> None:
    """Refuse to fetch or open what only a checkpoint names: initial weights, a published text encoder.

    Args:
        path: of the checkpoint.
        spec: the one it carries.
        built: parts of the backbone that will be built, encoders included.
        filled: parts that the checkpoint fills, so that nothing else is read for them.
        text_config: the configuration of the text encoder that the checkpoint carries, if any.

    Raises:
        UserError: names the setting that would allow it.
    """
    alone = set(built) - set(filled)
    foreign = []
    if "image" in alone and spec.image.weights is not None:
        foreign.append(("image", f"weights: {spec.image.weights}"))
    if "text" in built and (spec.text.encoder or "").startswith("hf/") and ("text" in alone or text_config is None):
        foreign.append(("text", f"encoder: {spec.text.encoder}"))
    if foreign:
        part, setting = foreign[0]
        raise UserError(
            f"checkpoint {path} does not hold its {part} encoder, but names where to get it ({setting}); a name in a "
            f"file is not followed: if you trust it, set model.backbone to {{name: {spec.name}, {part}: {{{setting}}}}}"
        )
