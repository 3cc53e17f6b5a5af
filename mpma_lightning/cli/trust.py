"""Configs are code: a class they name is imported. Without ``--trust`` they name our classes and those we build on."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_modules.errors import UsageError

FLAG, _VARIABLE = "--trust", "MPMA_TRUST"
KNOWN = ("mpma_lightning", "data_modules", "lightning", "torch", "torchmetrics")
"""Packages whose classes any config may name."""
_CLASS_KEYS = ("class_path", "model", "data", "callbacks", "logger", "plugins", "strategy", "profiler")
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def take_flag(argv: Sequence[str]) -> list[str]:
    """``argv`` without ``--trust``, which then holds for this process and those it starts, such as a sweep's runs."""
    if FLAG in argv:
        os.environ[_VARIABLE] = "1"
    return [word for word in argv if word != FLAG]


def check_trust(content: Any, path: Path) -> None:
    """UsageError where the config ``content`` of ``path`` imports other packages or reads the environment."""
    if not os.environ.get(_VARIABLE):
        _check(content, path, "")


def _check(value: Any, path: Path, key: str) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            _check(inner, path, str(name).removesuffix("+"))
    elif isinstance(value, list):
        for inner in value:
            _check(inner, path, key)
    elif isinstance(value, str):
        if "${oc." in value:
            raise UsageError(f"{path}: {value[:80]!r} reads what is outside the config; {FLAG} allows it")
        dotted = key in _CLASS_KEYS and not value.endswith((".yaml", ".yml")) and _DOTTED.fullmatch(value)
        if dotted and value.partition(".")[0] not in KNOWN:
            raise UsageError(
                f"{path}: class '{value[:80]}' would import the package '{value.partition('.')[0]}', which may run any "
                f"code; {FLAG} allows it (known: {', '.join(KNOWN)})"
            )
