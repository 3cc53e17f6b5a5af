"""Reads the --config files named on a command line before anything heavy is imported."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from data_modules.errors import UsageError, nearest
from data_modules.yaml_files import read_yaml
from mpma_lightning.cli.trust import check_trust

_SECTIONS = ("model", "data", "trainer")


def experiments_folder() -> Path:
    """``experiments/`` of the checkout this package runs from, or inside of the package where it was installed."""
    package = Path(__file__).resolve().parents[1]
    known = (package.parent / "experiments", package / "experiments")
    found = next((folder for folder in known if (folder / "defaults.yaml").is_file()), None)
    if found is None:
        raise UsageError(f"{known[0]}/defaults.yaml not found; install the package again")
    return found


def defaults_file() -> Path:
    """The settings that every experiment starts from."""
    return experiments_folder() / "defaults.yaml"


def config_arguments(argv: Sequence[str]) -> list[Path]:
    """The files given as ``--config FILE``, ``--config=FILE`` or ``-c FILE``, in order; inline YAML is left out."""
    values: list[str] = []
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        if word in ("--config", "-c"):
            values.append(following)
        elif word.startswith("--config="):
            values.append(word.removeprefix("--config="))
    return [Path(value) for value in values if value and not value.startswith("-") and not _is_inline(value)]


def check_config_files(paths: Sequence[Path], trusted: bool = False) -> None:
    """Check config files, and the part files that they name, before any class is imported.

    Args:
        paths: the files.
        trusted: they may name classes of any package; see :mod:`mpma_lightning.cli.trust`.

    Raises:
        UsageError: a file is absent, is not YAML, has a key twice, or names what only ``--trust`` allows.
    """
    for path in paths:
        if not path.is_file():
            raise _absent(path, named_by=None)
        content = _mapping(path)
        for part in _files(content.get(key) for key in _SECTIONS):
            if not (path.parent / part).is_file():
                raise _absent(path.parent / part, named_by=path)
            _mapping(path.parent / part)
        if not trusted:
            _check_trust(content, path, {path.resolve()})


def _mapping(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    if not isinstance(content, dict):
        found = "an empty file" if content is None else f"a {type(content).__name__}"
        raise UsageError(f"{path}: expected `key: value` lines, found {found}")
    return content


def _absent(path: Path, named_by: Path | None) -> UsageError:
    folder = path.parent if path.parent.is_dir() else Path()
    near = nearest(path.name, (other.name for other in folder.glob("*.y*ml") if other != named_by))
    origin = f", named in {named_by}" if named_by else ""
    return UsageError(f"config file {path} does not exist{origin}{near}")


def _check_trust(content: Any, path: Path, seen: set[Path]) -> None:
    """``content`` of ``path`` and the part files below it; a name that is no file is explained by the parser."""
    check_trust(content, path)
    for name in _files([content], below=True):
        part = path.parent / name
        if part.is_file() and part.resolve() not in seen:
            seen.add(part.resolve())
            _check_trust(read_yaml(part), part, seen)


def _files(values: Iterable[Any], below: bool = False) -> Iterator[str]:
    """The YAML paths among ``values``, and those ``below`` them if asked."""
    for value in values:
        if isinstance(value, str) and value.endswith((".yaml", ".yml")):
            yield value
        elif below and isinstance(value, dict | list):
            yield from _files(value.values() if isinstance(value, dict) else value, below)


def _is_inline(value: str) -> bool:
    return value.lstrip().startswith("{") or "\n" in value
