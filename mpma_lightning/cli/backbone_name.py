"""``backbone: NAME`` is read as ``backbone: {name: NAME}``, so that later configs and options can add to it.

jsonargparse would replace plain text by the defaults of ``BackboneSpec``, the default name among them, as soon as a
later config or option sets one field.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import yaml
from jsonargparse import ArgumentParser, get_loader, set_loader

MODE = "omegaconf+"
"""jsonargparse's parser mode in which ``${…}`` refers to the merged config."""
_OPTIONS = ("--model.backbone", "--model.init_args.backbone")


@cache
def name_backbones_in_files() -> None:
    """Apply this to every YAML text that jsonargparse reads from now on; further calls change nothing."""
    ArgumentParser(parser_mode=MODE).parse_string("{}")  # makes the loader
    load = get_loader(MODE)
    set_loader(MODE, lambda text: _named(load(text)), (yaml.YAMLError,))


def name_backbones(argv: Sequence[str]) -> list[str]:
    """``argv`` with ``--model.backbone.name NAME`` for ``--model.backbone NAME``."""
    words = []
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        named = option in _OPTIONS and _is_name(value if equals else following)
        words.append(f"{option}.name{equals}{value}" if named else word)
    return words


def refuse_unknown_backbone(model: Any) -> None:
    """UserError, with the nearest name, where the section ``model`` names a backbone that does not exist; before a run
    folder is compared with it."""
    backbone = ((model or {}).get("init_args") or {}).get("backbone")
    if isinstance(backbone, dict) and isinstance(name := backbone.get("name"), str):
        from mpma_lightning.backbones import BackboneSpec, resolve

        resolve(BackboneSpec(name=name))


def _named(value: Any) -> Any:
    if isinstance(value, list):
        return [_named(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    found = {key: _named(inner) for key, inner in value.items()}
    if isinstance(name := found.get("backbone"), str) and _is_name(name):
        found["backbone"] = {"name": name}
    return found


def _is_name(value: str) -> bool:
    """Not a mapping, a file, a reference, or ``null``."""
    return not (value in ("", "null", "~") or value.startswith(("-", "{", "${")) or value.endswith((".yaml", ".yml")))
