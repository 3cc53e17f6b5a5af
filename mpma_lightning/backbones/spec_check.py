"""Checks the type, choice and range of every field of a spec."""

from dataclasses import fields
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from data_modules.errors import UserError, expect, nearest, suggest
from mpma_lightning.backbones.spec import BackboneSpec

_LARGEST = {
    "size": 8192,
    "width": 16384,
    "depth": 512,
    "heads": 512,
    "slots": 65536,
    "hidden": 65536,
    "level": 512,
    "layers": 512,
}
"""Largest values, by the last word of a field's name."""
_LEAST = {"depth": 0, "slots": 0, "level": -512}
"""Least values; 1 for the others."""
OPTIONS = {
    *("embed_dim", "depth", "num_heads", "patch_size", "mlp_ratio", "init_values", "reg_tokens"),
    *("qkv_bias", "qk_norm", "proj_bias", "pre_norm", "final_norm", "no_embed_class", "dynamic_img_pad"),
    *("drop_rate", "pos_drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate", "drop_block_rate"),
    *("depths", "window_size"),
    "norm_eps",
    *("output_stride", "stem_width", "cardinality", "base_width", "width", "ls_init_value", "conv_bias"),
}
"""Arguments of timm's models for their size and regularisation, and ``norm_eps`` of their layer norms; others may name
files or downloads."""
_LARGEST_OPTION, _MOST_STAGES = 16384, 8


def check_spec(spec: BackboneSpec, where: str = "model.backbone") -> None:
    """Refuse wrong types, unknown choices and sizes out of range.

    Args:
        spec: complete or partial.
        where: what contains the spec, for error messages.

    Raises:
        UserError: with the field, its value and what is expected.
    """
    for part in fields(spec):
        inner = getattr(spec, part.name)
        if part.name == "name":
            expect(isinstance(inner, str), f"{where}.name", inner, "the name of a backbone")
            continue
        hints = get_type_hints(type(inner))
        for field in fields(inner):
            _check(f"{where}.{part.name}.{field.name}", getattr(inner, field.name), hints[field.name])


def _check(key: str, value: Any, kind: Any) -> None:
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if value is None and type(None) in kinds:
        return
    wanted = next(one for one in kinds if one is not type(None))
    if get_origin(wanted) is Literal:
        choices = get_args(wanted)
        if value not in choices:
            raise UserError(f"{key} is {value!r}{nearest(str(value), choices)} (one of {', '.join(choices)})")
    elif get_origin(wanted) is dict:
        plain = isinstance(value, dict) and all(map(_is_option, value.values()))
        expect(plain, key, value, f"names with numbers, true, false or lists of 1 to {_MOST_STAGES} whole numbers")
        for name, inner in value.items():
            if name not in OPTIONS:
                raise UserError(f"{key} names {name!r}, which is not one of the options{suggest(str(name), OPTIONS)}")
            largest = max(map(abs, inner if isinstance(inner, list) else [inner]))
            expect(largest <= _LARGEST_OPTION, f"{key}.{name}", inner, f"at most {_LARGEST_OPTION}")
    elif wanted is float:
        number = type(value) in (int, float)
        expect(number and 0 <= value < 1, key, value, "0 <= dropout < 1")
    elif wanted is int:
        name = key.rpartition(".")[2].rpartition("_")[2]
        least = _LEAST.get(name, 1)
        fits = type(value) is int and least <= value <= _LARGEST[name]
        expect(fits, key, value, f"a whole number of {least} to {_LARGEST[name]}")
    else:
        expect(isinstance(value, str), key, value, "a name")


def _is_option(value: object) -> bool:
    if isinstance(value, list):
        return 1 <= len(value) <= _MOST_STAGES and all(type(inner) is int for inner in value)
    return type(value) in (int, float, bool)
