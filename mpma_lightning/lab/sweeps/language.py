"""What a sweep file may say: keys, names that become folders, and the settings that the sweep gives itself."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from data_modules.errors import UsageError, suggest

Settings = dict[str, Any]
_OWN = {
    "seed_everything": "`seeds:`",
    "data.seed": "`seeds:`",
    "trainer.default_root_dir": "`runs:`",
    "model.checkpoint": "`after:` or a method's `checkpoint:`",
    "ckpt_path": "`test:`",
}
"""Settings that the sweep gives each trial itself, and what of the sweep file says them."""
_MAPPINGS = ("set", "grid", "downstream", "resources", "cluster", "search")
_TEXTS = ("after", "run", "test", "weights_of", "checkpoint")
_LISTS = ("only", "without", "experiment")


def filled(kind: type[Any], content: Any, where: str, **given: Any) -> Any:
    """``kind`` from a mapping; an unknown key is an error with the nearest right one."""
    values = dict(mapping(content, where))
    known = [field.name for field in fields(kind) if field.name not in (*given, "trials")]
    for key in values:
        if key not in known:
            raise UsageError(f"{where}: unknown key {key!r}{suggest(key, known)}")
    return kind(**{key: _checked(key, value, f"{where}.{key}") for key, value in values.items()}, **given)


def _checked(key: str, value: Any, where: str) -> Any:
    """The value of a key, of the kind that the key has."""
    if key == "resources" and not all(type(n) in (int, float) and n > 0 for n in mapping(value, where).values()):
        raise UsageError(f"{where}: found {value!r}, expected numbers, such as GPU: 1")
    if key in _MAPPINGS:
        return {str(name): inner for name, inner in mapping(value, where).items()}
    if key == "set_for":
        return {name: _checked("set", inner, f"{where}.{name}") for name, inner in mapping(value, where).items()}
    if key in _TEXTS and not isinstance(value, str | None):
        raise UsageError(f"{where}: found {value!r}, expected a word")
    if key in _LISTS:
        if not all(isinstance(item, str) for item in as_list(value)):
            raise UsageError(f"{where}: found {value!r}, expected a word or a list of words")
        return as_list(value)
    return value


def mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where}: expected `key: value` lines, found {value!r}")
    return value


def names(value: Any, where: str) -> Mapping[str, Any]:
    """A mapping whose keys become folders and rows of tables."""
    found = mapping(value, where)
    for name in found:
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w.+-]{0,99}", name):
            raise UsageError(
                f"{where}: the name {name!r} would be a folder; expected letters, digits, `_`, `.`, `+` and `-`, "
                "beginning with a letter or digit, and quoted where it is a number"
            )
    return found


def as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def path_name(value: Any) -> str:
    """Safe in a path."""
    return re.sub(r"[^\w.+-]+", "_", value if isinstance(value, str) else json.dumps(value, default=str)).strip("_")


def check_own(settings: Settings, where: str, free: Sequence[str] = ()) -> None:
    """UsageError for a setting, also a nested one, that the sweep gives each trial itself."""
    for key in _flat(settings):
        name = key.replace(".init_args", "")
        if name in _OWN and name not in free:
            raise UsageError(f"{where}: {key} is set by the sweep itself; give {_OWN[name]} in its place")


def _flat(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key
