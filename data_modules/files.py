"""Files that are written completely or not at all: under another name first, then renamed."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from data_modules.errors import UserError

_REMEDY = "Make room or give write permission there, or choose another place"


@contextmanager
def whole_file(path: Path, within: Path | None = None, remedy: str = _REMEDY) -> Iterator[Path]:
    """A new file beside ``path`` to write to; on leaving it takes the place of ``path``, after an error it is removed.

    A link at ``path`` itself is replaced; the file that it names stays as it is.

    Args:
        path: the file to write; its folder is made.
        within: the folder that ``path`` must not leave through a link.
        remedy: what the message of a failure advises.

    Raises:
        UserError: the system refused (full disk or quota, read-only folder, a folder in the place of the file), or a
            link leads out of ``within``. What was at ``path`` before is still there.
    """
    partial = path.with_name(f".{path.name[:180]}.{uuid.uuid4().hex[:12]}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if within is not None and not path.parent.resolve().is_relative_to(within.resolve()):
            raise UserError(f"{path.parent} is a link out of {within} (to {path.parent.resolve()}); remove the link")
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise unwritable(path, error, remedy) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes, within: Path | None = None) -> None:
    """Write ``content``, text as UTF-8; see :func:`whole_file`."""
    with whole_file(path, within) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def unwritable(path: Path, error: OSError, remedy: str = _REMEDY) -> UserError:
    """The error for a file that could not be written."""
    kept = "; the file of before stays" if path.is_file() else ""
    return UserError(f"{path} could not be written ({error.strerror or error}){kept}. {remedy}")
