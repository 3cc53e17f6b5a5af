"""Configs are code: a class that they name is imported. Without ``--trust`` only known packages may be named."""

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from data_modules.errors import UsageError

FLAG = "--trust"
KNOWN = ("mpma_lightning", "data_modules", "lightning", "torch", "torchmetrics")
"""Packages whose classes every config may name."""
_CLASS_KEYS = ("class_path", "model", "data", "callbacks", "logger", "plugins", "strategy", "profiler")
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def take_flag(argv: Sequence[str]) -> tuple[list[str], bool]:
    """``argv`` without ``--trust``, and whether it was there."""
    return [word for word in argv if word != FLAG], FLAG in argv


def check_trust(content: Any, path: Path) -> None:
    """UsageError where the config ``content`` of ``path`` names other packages or reads the environment."""
    _check(content, path, "", set())


def _check(value: Any, path: Path, key: str, seen: set[int]) -> None:
    """``key`` is the last part of the name that ``value`` is given to."""
    if isinstance(value, dict | list):
        if id(value) in seen:  # an alias
            return
        seen.add(id(value))
        pairs = value.items() if isinstance(value, dict) else ((key, inner) for inner in value)
        for name, inner in pairs:
            _check(inner, path, str(name).removesuffix("+").rpartition(".")[2], seen)
    elif isinstance(value, str):
        _check_text(value, path, key)


def _check_text(value: str, path: Path, key: str) -> None:
    if "${oc." in value:
        raise UsageError(f"{path}: {value[:80]!r} reads the environment of this machine; {FLAG} allows it")
    if value.lstrip().startswith(("{", "[")) or "\n" in value:  # a setting of a sweep, as YAML in text
        with suppress(yaml.YAMLError, ValueError, RecursionError):
            inner = yaml.safe_load(value)
            _check([] if isinstance(inner, str) else inner, path, key, set())
    package = value.partition(".")[0]
    dotted = key in _CLASS_KEYS and not value.endswith((".yaml", ".yml")) and _DOTTED.fullmatch(value)
    if dotted and package not in KNOWN:
        raise UsageError(
            f"{path}: class '{value[:80]}' would import the package '{package[:80]}', which may run any code; {FLAG} "
            f"allows it (known: {', '.join(KNOWN)})"
        )
