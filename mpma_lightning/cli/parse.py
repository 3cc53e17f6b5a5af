"""Plain content of files as dataclasses, whose fields say which keys and types there are."""

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from jsonargparse import ArgumentError, ArgumentParser

from data_modules.errors import UsageError, suggest
from mpma_lightning.cli.explain import Explainer

T = TypeVar("T")


def parsed(kind: type[T], content: Any, where: str, **given: Any) -> T:
    """``content``, a mapping, as the dataclass ``kind``; null is the same as an absent key.

    Args:
        kind: with typed fields. The content of a bare ``dict`` or ``list`` stays as it is.
        content: from a YAML or JSON file.
        where: file and key, for errors.
        given: fields that do not come from the file.

    Raises:
        UsageError: an unknown key, with the nearest right one; a missing key; a value of another type.
    """
    names = [field.name for field in fields(kind) if field.name not in given]  # type: ignore[arg-type]
    if not isinstance(content, Mapping):
        raise UsageError(f"{where}: expected `key: value` lines, found {content!r}")
    if unknown := [key for key in content if key not in names]:
        raise UsageError(f"{where}: unknown key {unknown[0]!r}{suggest(str(unknown[0]), names)}")
    said = {key: value for key, value in content.items() if value is not None}
    try:
        parser = _parser(kind, tuple(given))  # type: ignore[arg-type]
        made = parser.parse_object(said).as_dict()
    except ArgumentError as error:
        raise UsageError(f"{where}: {Explainer('', {}, names).explain(str(error))}") from None
    for key, value in said.items():
        if isinstance(value, str) and not isinstance(made[key], str | Path):  # the parser reads text as YAML
            raise UsageError(f"{where}: {key}: found the text {value!r} where a value of another type belongs")
    return kind(**made, **given)


@cache
def _parser(kind: type, given: tuple[str, ...]) -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, skip=set(given), fail_untyped=False)
    return parser
