"""Detects damaged checkpoints: the comment of the zip archive holds the SHA-256 of all bytes before it."""

import hashlib
import re
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

_END_OF_ARCHIVE = b"PK\x05\x06"
_END_SIZE, _COMMENT_SIZE = 22, len("sha256:") + 64
_SEAL = re.compile(_COMMENT_SIZE.to_bytes(2, "little") + rb"sha256:([0-9a-f]{64})", re.DOTALL)


class SealingFile:
    """Writes to ``file`` and appends the digest of what was written as the comment of the archive."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._held, self._digest = file, b"", hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Write ``data``; the last two bytes, the length of the comment, wait for :meth:`seal`."""
        content = self._held + bytes(data)
        self._held, content = content[-2:], content[:-2]
        self._digest.update(content)
        self._file.write(content)
        return len(data)

    def flush(self) -> None:
        self._file.flush()

    def seal(self) -> None:
        """Write the comment, which must be the last call."""
        comment = f"sha256:{self._digest.hexdigest()}".encode()
        self._file.write(len(comment).to_bytes(2, "little") + comment)


def damage(path: Path) -> str | None:
    """What is wrong with the bytes of the archive ``path``; ``None`` where nothing is, or for other formats.

    A digest, where there is one, must match exactly. Archives without it, from older versions or other projects, are
    checked by the check sums of their members.
    """
    with path.open("rb") as file:
        start = file.read(4)
        size = file.seek(0, 2)
        file.seek(max(0, size - _COMMENT_SIZE - _END_SIZE))
        end = file.read()
        if seal := _SEAL.fullmatch(end[-_COMMENT_SIZE - 2 :]):
            file.seek(0)
            digest, left = hashlib.sha256(), size - _COMMENT_SIZE - 2
            while left and (piece := file.read(min(left, 1 << 20))):
                digest.update(piece)
                left -= len(piece)
            return None if digest.hexdigest().encode() == seal[1] else "its bytes are not those that were written"
    if start != b"PK\x03\x04" and _END_OF_ARCHIVE not in end:
        return None
    if not end[-_END_SIZE:].startswith(_END_OF_ARCHIVE):
        return "the end of its archive is damaged or missing"
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, NotImplementedError, EOFError, RuntimeError) as error:
        return " ".join(str(error).split())
    return f"the check sum of its member {broken} does not match" if broken else None
