"""File names as users have them: other Unicode forms, Windows paths, macOS metadata files, linked folders."""

import os
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from data_modules.errors import UserError

APPLE_DOUBLE = "._"
"""Prefix of the metadata files of macOS."""


def files_below(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """Every file below ``folder`` with one of ``suffixes`` (lower case), sorted.

    Linked folders are followed, each once. A broken link is listed, so that reading it fails. Metadata files of macOS
    (``._scan.png``) are not listed.
    """
    wanted = tuple(suffixes)
    return sorted(Path(path) for path in _walk(folder) if Path(path).suffix.lower() in wanted)


def _walk(folder: Path) -> Iterator[str]:
    entered = {os.path.realpath(folder)}
    for place, folders, names in os.walk(folder, followlinks=True):
        reals = {name: os.path.realpath(f"{place}/{name}") for name in folders}
        folders[:] = [name for name, real in reals.items() if real not in entered]
        entered.update(reals.values())
        yield from (f"{place}/{name}" for name in names if not name.startswith(APPLE_DOUBLE))


def require_folder(folder: Path, of: str, setting: str = "data.root") -> None:
    """UserError unless ``folder`` exists; ``of`` names the data set, ``setting`` the argument to correct."""
    if not folder.is_dir():
        raise UserError(f"{folder}: folder not found; set {setting} to the folder of {of}")


def same_name(name: str) -> str:
    """The form in which two names of one file are equal: forward slashes, composed characters (NFC)."""
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


def existing_file(folders: Iterable[Path], name: str) -> Path | None:
    """The file ``name`` in the first of ``folders`` that has it, also under another form of the name; else None.

    A path of Windows (``images\\a.png``) and a name in the other Unicode form (of macOS) are tried where the name as
    it is written is not there.
    """
    slashes = name.replace("\\", "/")
    forms = dict.fromkeys([name, slashes, *(unicodedata.normalize(form, slashes) for form in ("NFC", "NFD"))])
    return next((folder / form for folder in folders for form in forms if _is_file(folder / form)), None)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or holds a zero byte
        return False
