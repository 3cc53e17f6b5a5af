"""The bytes of one image file, whether it lies on disk or in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from data_modules.boundary import refuse_special
from data_modules.errors import UserError

MOST_BYTES = 1 << 30
"""Largest image file, and the most that a compressed DICOM file may unpack to."""
Source = str | Path | IO[bytes]
"""The path of an image file, or the file opened for reading."""


@contextmanager
def opened(source: Source, name: str | Path) -> Iterator[IO[bytes]]:
    """``source`` as a file that is open for reading; ``name`` is for errors.

    Raises:
        UserError: a path that leads to no file, to a folder, pipe or device, or to more than ``MOST_BYTES``.
        OSError: a file that cannot be opened.
    """
    if not isinstance(source, str | Path):
        yield source
        return
    path = Path(source)
    if not path.exists():
        raise UserError(f"{name}: image not found; complete the download, or set data.max_missing")
    if (size := refuse_special(path).st_size) > MOST_BYTES:
        raise UserError(f"{name}: found {size:,} bytes, expected at most {MOST_BYTES:,}; replace the file")
    with path.open("rb") as file:
        yield file
