"""Reads the --config files named on a command line before anything heavy is imported."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from data_modules.errors import UsageError, nearest
from data_modules.yaml_files import read_yaml
from mpma_lightning.cli.trust import check_trust

_SECTIONS = ("model", "data", "trainer")


def defaults_file() -> Path:
    """``experiments/defaults.yaml`` of the checkout this package runs from."""
    path = Path(__file__).resolve().parents[2] / "experiments" / "defaults.yaml"
    if not path.is_file():
        raise UsageError(
            f"{path} not found: experiments/ lies beside the package in a checkout; run `pip install -e .` there"
        )
    return path


def config_arguments(argv: Sequence[str]) -> list[Path]:
    """The files given as ``--config FILE``, ``--config=FILE`` or ``-c FILE``, in order; inline YAML is left out."""
    values: list[str] = []
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        if word in ("--config", "-c"):
            values.append(following)
        elif word.startswith("--config="):
            values.append(word.removeprefix("--config="))
    return [Path(value) for value in values if value and not value.startswith("-") and not _is_inline(value)]


def check_config_files(paths: Sequence[Path]) -> None:
    """Fail with file and line on a config that is absent, not YAML or has a key twice, and on a part file that does
    not exist."""
    for path in paths:
        _check(path, named_by=None)


def _check(path: Path, named_by: Path | None) -> None:
    if not path.is_file():
        folder = path.parent if path.parent.is_dir() else Path()
        near = nearest(path.name, (other.name for other in folder.glob("*.y*ml") if other != named_by))
        origin = f", named in {named_by}" if named_by else ""
        raise UsageError(f"config file {path} does not exist{origin}{near}")
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UsageError(f"{path}: expected `key: value` lines, found {_kind(content)}")
    for part in _files([content.get(key) for key in _SECTIONS] if named_by is None else []):
        _check(path.parent / part, named_by=path)
    check_trust(content, path)
    _check_parts(content, path, {path.resolve()})


def _check_parts(content: dict[str, Any], path: Path, seen: set[Path]) -> None:
    """The part files below ``content`` of ``path``, and theirs; what is no file is explained elsewhere."""
    for name in _files(list(content.values()), below=True):
        part = path.parent / name
        if part.is_file() and part.resolve() not in seen:
            seen.add(part.resolve())
            inner = read_yaml(part)
            check_trust(inner, part)
            if isinstance(inner, dict):
                _check_parts(inner, part, seen)


def _files(values: Iterable[Any], below: bool = False) -> Iterator[str]:
    """The YAML paths among ``values``, and those ``below`` them if asked."""
    for value in values:
        if isinstance(value, str) and value.endswith((".yaml", ".yml")):
            yield value
        elif below and isinstance(value, dict | list):
            yield from _files(value.values() if isinstance(value, dict) else value, below)


def _is_inline(value: str) -> bool:
    return value.lstrip().startswith("{") or "\n" in value


def _kind(content: object) -> str:
    return "an empty file" if content is None else f"a {type(content).__name__}"
