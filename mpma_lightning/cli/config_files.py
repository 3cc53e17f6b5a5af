"""Reads the --config files named on a command line before anything heavy is imported."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from data_modules.errors import UsageError, nearest

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
    """Fail with file and line on a config that is absent or not YAML, and on a part file that does not exist."""
    for path in paths:
        _check(path, named_by=None)


def _check(path: Path, named_by: Path | None) -> None:
    if not path.is_file():
        folder = path.parent if path.parent.is_dir() else Path()
        near = nearest(path.name, (other.name for other in folder.glob("*.y*ml") if other != named_by))
        origin = f", named in {named_by}" if named_by else ""
        raise UsageError(f"config file {path} does not exist{origin}{near}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise UsageError(f"{path}{line}: not valid YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path}: expected `key: value` lines, found {_kind(content)}")
    for part in _parts(content, top=named_by is None):
        _check(path.parent / part, named_by=path)


def _parts(content: dict[str, Any], top: bool) -> Iterator[str]:
    """The values that can only be part files: a YAML path where a whole section belongs."""
    for key in _SECTIONS if top else ():
        value = content.get(key)
        if isinstance(value, str) and value.endswith((".yaml", ".yml")):
            yield value


def _is_inline(value: str) -> bool:
    return value.lstrip().startswith("{") or "\n" in value


def _kind(content: object) -> str:
    return "an empty file" if content is None else f"a {type(content).__name__}"
