"""Members of a tar file by name and place; nothing is unpacked. Their bytes are read from the file by place."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from data_modules.boundary import boundary, refuse_special
from data_modules.errors import UserError

LARGEST_HEADER = 1 << 20
"""Bytes of the headers of a member; a usual one has 512, one of a long name a few thousand."""
MOST_MEMBERS = 10_000_000
AGAIN = "download it again"
ZERO = bytes(tarfile.BLOCKSIZE)


@dataclass(frozen=True)
class Member:
    """One member: its name, where its bytes are, and whether it is a file (not a link, device or the like)."""

    name: str
    offset: int
    size: int
    is_file: bool


class _Headers(FileIO):
    """A tar file of which no header can fill the memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= LARGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes" if size else "a header without an end")
        return super().read(size) or b""


def members(path: Path) -> Iterator[Member]:
    """Every member but folders, in the order of the file.

    Raises:
        UserError: not a tar file, a broken header, a member that ends behind the end of the file, a file that ends
            without the mark of its end, or too many members.
    """
    size = refuse_special(path).st_size
    with (
        boundary(f"{path}: broken tar file", AGAIN),
        _Headers(path) as file,
        tarfile.open(fileobj=file, mode="r:") as tar,
    ):
        end = count = 0
        while (found := tar.next()) is not None:
            end, count = tar.offset, count + 1
            tar.members.clear()  # type: ignore[attr-defined] # the library keeps every one
            if found.size < 0 or end <= found.offset or count > MOST_MEMBERS:
                raise UserError(f"{path}: member {count:,}, {found.name!r}, has an impossible place; {AGAIN}")
            if found.offset_data + found.size > size:
                raise UserError(
                    f"{path}: member {found.name!r} has {found.size:,} bytes by its header, the file ends after "
                    f"{size - found.offset_data:,} of them; {AGAIN}"
                )
            if not found.isdir():
                yield Member(found.name, found.offset_data, found.size, found.isreg() and not found.issparse())
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE) != ZERO:
            raise UserError(f"{path}: ends without the mark of its end, or is broken after byte {end:,}; {AGAIN}")


def read_member(path: Path, offset: int, size: int) -> bytes:
    """``size`` bytes from ``offset``; UserError where the file has fewer."""
    with boundary(f"{path}: cannot be read", AGAIN), path.open("rb") as file:
        file.seek(offset)
        raw = file.read(size)
    if len(raw) < size:
        raise UserError(f"{path}: ends before byte {offset + size:,}; {AGAIN}")
    return raw
