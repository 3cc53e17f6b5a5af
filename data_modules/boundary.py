"""Where foreign bytes enter: one-line errors for whatever a library raises, and limits on what is read."""

import codecs
import json
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data_modules.errors import UserError

LARGEST_FILE = 2 << 30
"""Bytes of a table or annotation file, unpacked."""
GZIP = b"\x1f\x8b"
_REASON = 200


@contextmanager
def boundary(found: str, remedy: str) -> Iterator[None]:
    """Whatever is raised inside becomes ``UserError("<found> (<reason>); <remedy>")``; UserErrors pass.

    Only the reading of external data belongs inside: libraries raise exceptions of every type at broken input.

    Args:
        found: the file, the row where there is one, and what is wrong with it.
        remedy: how to mend it.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{found} ({reason(error)}); {remedy}") from None


def reason(error: Exception) -> str:
    """One line about ``error``, at most 200 characters."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, MemoryError):
        return "too large for the memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:_REASON] or type(error).__name__


def refuse_special(path: Path) -> os.stat_result:
    """The state of ``path``; UserError unless it is a regular file: a pipe or a device never ends."""
    with boundary(f"{path}: cannot be read", "correct the path, or complete the download"):
        state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise UserError(f"{path}: found a folder, pipe or device, expected a regular file; replace it")
    return state


def read_bytes(path: Path, at_most: int | None = None) -> bytes:
    """The bytes of a regular file, unpacked where it is gzipped.

    Args:
        path: the file.
        at_most: limit in bytes, of the file and of what it unpacks to; default: ``LARGEST_FILE``.

    Raises:
        UserError: not a regular file, unreadable, broken gzip, or larger than the limit.
    """
    limit = LARGEST_FILE if at_most is None else at_most
    if (size := refuse_special(path).st_size) > limit:
        raise UserError(f"{path}: found {size:,} bytes, expected at most {limit:,}; split the file")
    with boundary(f"{path}: cannot be read", "check its permissions, or download it again"):
        raw = path.read_bytes()
    return unpacked(raw, str(path), limit) if raw.startswith(GZIP) else raw


def unpacked(raw: bytes, name: str, limit: int) -> bytes:
    """The content of gzip members ``raw``; UserError where they are broken or hold more than ``limit`` bytes."""
    parts, total = [], 0
    with boundary(f"{name}: broken gzip file", "download it again"):
        while raw.startswith(GZIP):
            stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
            part = stream.decompress(raw, limit - total + 1)
            parts.append(part)
            total += len(part)
            if total > limit:
                raise UserError(f"{name}: unpacks to more than {limit:,} bytes, the limit; split the file")
            if not stream.eof:
                raise EOFError("it ends in the middle")
            raw = stream.unused_data.lstrip(b"\0")
        if raw:
            raise ValueError("it is followed by other bytes")
    return b"".join(parts)


def read_text(path: Path, at_most: int | None = None) -> str:
    """The text of a UTF-8 file, with or without a byte order mark, unpacked where it is gzipped; UserError."""
    return decoded(read_bytes(path, at_most), str(path))


def decoded(raw: bytes, name: str) -> str:
    """``raw`` as UTF-8, without its byte order mark; UserError naming the first byte that is not."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{name}: found UTF-16 text, expected UTF-8; save it as UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise UserError(f"{name}: found byte {error.start} that is not UTF-8 (line {line}); save it as UTF-8") from None


def lines_of(text: str) -> list[str]:
    """The lines of ``text``, which end at LF, CR LF or CR; other separators, such as U+2028, belong to their line."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def uncommented(text: str) -> list[str]:
    """The lines of a list, stripped, without what follows a # and without blank ones."""
    lines = (line.split("#")[0].strip() for line in lines_of(text))
    return [line for line in lines if line]


def parse_json(text: str, name: str, expected: str, numbers_as_text: bool = False) -> Any:
    """The value of JSON ``text``; UserError where it is broken or nested too deeply.

    Args:
        text: of the file, or of one row.
        name: file and row, for the error.
        expected: what was expected, for the error.
        numbers_as_text: numbers stay as they are written, so that an id of 19 digits is no rounded float, and
            ``NaN`` is null.
    """
    with boundary(f"{name}: found broken JSON", f"expected {expected}; correct it, or download it again"):
        if not numbers_as_text:
            return json.loads(text)
        return json.loads(text, parse_int=str, parse_float=str, parse_constant=lambda _: None)


def read_json(path: Path, expected: str, numbers_as_text: bool = False) -> Any:
    """:func:`parse_json` of a file."""
    return parse_json(read_text(path), str(path), expected, numbers_as_text)
