"""`--model.help CLASS` and `--data.help CLASS`: every argument of a class, with those of the options inside it."""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any, get_args

from jsonargparse import ArgumentParser

from data_modules.catalogue import DATA_MODULES
from data_modules.errors import UsageError, suggest

_OPTION, _HIDDEN = re.compile(r"  --\S"), re.compile(r"  --\S+(\.help\b| CONFIG$| CONFIG )")
"""A line that begins an option, and one that only shows further help or reads a file."""


def asked_class(words: Sequence[str]) -> tuple[str, str] | None:
    """(``model`` or ``data``, name of the class) where ``words`` ask for the help of a class; else None."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        if option in ("--model.help", "--data.help"):
            return option[2:].partition(".")[0], value if equals else following
    return None


def class_help(start: str, key: str, name: str) -> str:
    """The page of a class.

    Args:
        start: how the command is called.
        key: ``model`` or ``data``.
        name: of the class, with or without its module.

    Raises:
        UsageError: there is no such class.
    """
    kind = _class(key, name)
    sections = "\n\n".join(_section(inner, at) for inner, at in _with_options(kind, key, set()))
    return f"usage: {start} --{key} {kind.__name__} [--{key}.ARGUMENT VALUE ...]\n\n{sections}"


def _class(key: str, name: str) -> type:
    known = _known(key)
    module, dot, last = name.rpartition(".")
    if dot and last in known and known[last].__module__ == module:
        name = last
    if name not in known:
        raise UsageError(f"--{key}.help: unknown class '{name}'{suggest(last, known)}")
    return known[name]


def _known(key: str) -> dict[str, type]:
    """Classes that ``key`` takes, by name."""
    if key == "data":
        return {name: getattr(import_module(f"data_modules.{module}"), name) for module, name in DATA_MODULES.items()}
    from mpma_lightning.cli.short_help import TASKS
    from mpma_lightning.cli.training import import_all
    from mpma_lightning.tasks.base import Task

    import_all("mpma_lightning.tasks")
    return {kind.__name__: kind for kind in _below(Task) if kind.__name__ in TASKS}


def _below(root: type) -> Iterator[type]:
    children: list[type] = root.__subclasses__()
    for child in children:
        yield child
        yield from _below(child)


def _with_options(kind: type, key: str, seen: set[type]) -> Iterator[tuple[type, str]]:
    """The class, and the dataclasses among the types of its arguments, each with its key."""
    yield kind, key
    for action in _parser(kind, key)._actions:
        for inner in _dataclasses(getattr(action, "_typehint", None)):
            if inner not in seen:
                seen.add(inner)
                yield from _with_options(inner, action.dest.removesuffix(".help"), seen)


def _dataclasses(hint: Any) -> Iterator[type]:
    for kind in get_args(hint) or (hint,):
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            yield kind


def _parser(kind: type, key: str) -> ArgumentParser:
    parser = ArgumentParser(add_help=False)
    parser.add_class_arguments(kind, key, fail_untyped=False)
    return parser


def _section(kind: type, key: str) -> str:
    """Help of the arguments, without the usage above it and without options that only show further help."""
    _, _, body = _parser(kind, key).format_help().partition("\n\n")
    kept, hidden = [], False
    for line in body.splitlines():
        if _OPTION.match(line):
            hidden = _HIDDEN.match(line) is not None
        elif line.strip() and not line.startswith("   "):
            hidden = False
        if not hidden:
            kept.append(line)
    return "\n".join(kept).strip()
