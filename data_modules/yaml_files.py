"""YAML files that people write: a key given twice, and aliases that multiply, are refused with file and line."""

from pathlib import Path
from typing import Any

import yaml

from data_modules.errors import UsageError

LARGEST = 100_000
"""Values a file may hold once its aliases are written out."""


class WordsStay(yaml.SafeLoader):
    """Reads ``on``, ``off``, ``yes`` and ``no`` as the words they are; only ``true`` and ``false`` are truth values."""


WordsStay.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool" or first in "tTfF"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(path: Path, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """The content of ``path``, plain types.

    Args:
        path: the file.
        loader: which words are numbers, truth values and so on.

    Raises:
        UsageError: it is not YAML in UTF-8, a key stands twice in one mapping, or an alias holds itself or makes more
            than :data:`LARGEST` values; with the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    try:
        reader = loader(text)
        node = reader.get_single_node()
        if node is None:
            return None
        size = _size(node, path, {})
        if size > LARGEST:
            raise UsageError(
                f"{path}: holds {size:,} values with its aliases written out; expected at most {LARGEST:,}"
            )
        return reader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise UsageError(f"{path}{line}: not valid YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: such as the date 2020-99-99
        raise UsageError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UsageError(f"{path}: nested too deeply to be read") from None


def _size(node: yaml.Node, path: Path, known: dict[int, int]) -> int:
    """Values in ``node``, those behind an alias as often as they are named; 0 in ``known`` while one is counted."""
    place = f"{path}:{node.start_mark.line + 1}"
    if known.get(id(node)) == 0:
        raise UsageError(f"{place}: an alias names the value that holds it")
    if id(node) not in known:
        known[id(node)] = 0
        inner: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            _refuse_twice(node, path)
            inner = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            inner = node.value
        known[id(node)] = 1 + sum(_size(part, path, known) for part in inner)
    return known[id(node)]


def _refuse_twice(mapping: yaml.MappingNode, path: Path) -> None:
    lines: dict[tuple[str, str], int] = {}
    for key, _ in mapping.value:
        if isinstance(key, yaml.ScalarNode):
            line, name = key.start_mark.line + 1, (key.tag, key.value)
            if name in lines:
                raise UsageError(f"{path}:{line}: key '{key.value}' was given in line {lines[name]}; remove one")
            lines[name] = line
