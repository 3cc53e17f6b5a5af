"""Where an image lies: in a file, a tar file, a row of an Arrow or Parquet table, or a row of a prepared store.

The index is a table, so its ``image`` column holds references: a path, ``<folder>::<split>::<row>`` of a table,
``tar:<file>#<offset>+<size>`` of a tar file, or ``prepared:<folder>#<row>`` of a store. They are written and read here
only.
"""

import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from data_modules.boundary import boundary
from data_modules.errors import UserError
from data_modules.images.decode import decode, encoded_size, with_channels
from data_modules.images.opened import Source, opened
from data_modules.images.shards import image_table
from data_modules.index.hub import image_bytes
from data_modules.index.tar_members import read_member

_ROW = re.compile(r"(?P<folder>.*)::(?P<split>[^:]+)::(?P<row>\d+)", re.DOTALL)
_IN_TAR = re.compile(r"tar:(?P<path>.*)#(?P<offset>\d+)\+(?P<size>\d+)", re.DOTALL)
_STORED = re.compile(r"prepared:(?P<folder>.*)#(?P<row>\d+)", re.DOTALL)


class ImageSource:
    """One image, wherever it lies; ``str`` gives its reference."""

    def read(self, channels: int = 1, short_side: int | None = None, enough: int | None = None) -> np.ndarray:
        """uint8 (H, W) for ``channels`` 1, (H, W, 3) for 3.

        Args:
            channels: 1 (gray) or 3.
            short_side: larger images are shrunk to this shorter side, as `prepare` does; stored images already are.
            enough: a JPEG may be decoded smaller, as long as its shorter side keeps this many pixels: faster, nearly
                equal.

        Raises:
            UserError: missing, truncated or unreadable, with the place and the reason.
        """
        return with_channels(decode(self._file(), str(self), short_side, enough), channels)

    def size(self) -> tuple[int, int]:
        """(width, height) of the image file, to which masks and boxes refer; of a stored image, of the file it was
        made from. UserError where it cannot be read."""
        return encoded_size(self._file(), str(self))

    def bytes(self) -> bytes:
        """The image file as it is. UserError where it cannot be read, or where only pixels are kept."""
        raise NotImplementedError

    def exists(self) -> bool:
        """Whether the image is there; rows of tables and stores are."""
        return True

    def _file(self) -> Source:
        return io.BytesIO(self.bytes())


@dataclass(frozen=True)
class ImageFile(ImageSource):
    """An image file on disk."""

    path: str

    def __str__(self) -> str:
        return self.path

    def bytes(self) -> bytes:
        with boundary(f"{self.path}: cannot be read", "download it again"), opened(self.path, self.path) as file:
            return file.read()

    def exists(self) -> bool:
        return Path(self.path).is_file()

    def _file(self) -> Source:
        return self.path


@dataclass(frozen=True)
class TableImage(ImageSource):
    """An image file inside a row of an Arrow or Parquet table."""

    folder: str
    split: str
    row: int

    def __str__(self) -> str:
        return f"{self.folder}::{self.split}::{self.row}"

    def bytes(self) -> bytes:
        return image_bytes(self.folder, self.split, self.row)


@dataclass(frozen=True)
class TarImage(ImageSource):
    """An image file inside a tar file, read by its place."""

    path: str
    offset: int
    length: int

    def __str__(self) -> str:
        return f"tar:{self.path}#{self.offset}+{self.length}"

    def bytes(self) -> bytes:
        return read_member(Path(self.path), self.offset, self.length)


@dataclass(frozen=True)
class StoredImage(ImageSource):
    """An image of a prepared store: a JPEG file, or pixels that are read from the memory map without a copy."""

    folder: str
    row: int

    def __str__(self) -> str:
        return f"prepared:{self.folder}#{self.row}"

    def read(self, channels: int = 1, short_side: int | None = None, enough: int | None = None) -> np.ndarray:
        record = self._record()
        payload = self._payload(record)
        if not record["raw"].as_py():
            return with_channels(decode(pa.BufferReader(payload), str(self), enough=enough, upright=True), channels)
        with boundary(f"{self}: pixels do not fit their size", "prepare the store again"):
            width, height = record["width"].as_py(), record["height"].as_py()
            pixels = np.frombuffer(payload, np.uint8)
            shape = (height, width) if len(pixels) == height * width else (height, width, 3)
            return with_channels(pixels.reshape(shape), channels)

    def size(self) -> tuple[int, int]:
        record = self._record()
        return record["source_width"].as_py(), record["source_height"].as_py()

    def bytes(self) -> bytes:
        record = self._record()
        if record["raw"].as_py():
            raise UserError(f"{self.folder}: image {self.row} is stored as pixels, expected a JPEG; read it instead")
        return self._payload(record).to_pybytes()

    def _record(self) -> dict[str, pa.Scalar]:
        row = image_table(self.folder).fast_slice(self.row, 1)
        return {name: row.column(name)[0] for name in row.column_names}

    def _payload(self, record: dict[str, pa.Scalar]) -> pa.Buffer:
        if (payload := record["payload"].as_buffer()) is None:
            raise UserError(f"{self.folder}: image {self.row} was broken when the store was prepared; prepare it again")
        return payload


def image_source(reference: str | Path) -> ImageSource:
    """The source that a value of the ``image`` column refers to."""
    text = str(reference)
    if found := _STORED.fullmatch(text):
        return StoredImage(found["folder"], int(found["row"]))
    if found := _IN_TAR.fullmatch(text):
        return TarImage(found["path"], int(found["offset"]), int(found["size"]))
    if found := _ROW.fullmatch(text):
        return TableImage(found["folder"], found["split"], int(found["row"]))
    return ImageFile(text)


def table_references(folder: Path, splits: pd.Series) -> list[str]:
    """References to the rows of the splits of a table: ``splits`` has the split of each row, in the table's order."""
    rows = splits.groupby(splits, sort=False).cumcount()
    return [str(TableImage(str(folder), split, row)) for split, row in zip(splits, rows, strict=True)]


def row_references(table: Path, names: pd.Series) -> pd.Series:
    """References to rows by the names that tables with images inside have for them, ``<split>/<row from 1>``.

    Args:
        table: a Parquet file, or the folder of data in the hub's form.
        names: of the rows.
    """
    folder = str(table if table.is_dir() else table.parent)
    parts = names.str.rpartition("/")
    rows = zip(parts[0], parts[2].astype(int), strict=True)
    return pd.Series([str(TableImage(folder, split, row - 1)) for split, row in rows], names.index, dtype="str")


def stored_references(folder: Path, rows: pd.Series) -> pd.Series:
    """References to ``rows`` (numbers) of the image table of a store."""
    return pd.Series([str(StoredImage(str(folder), row)) for row in rows], rows.index, dtype="str")


def stored_rows(references: pd.Series) -> pd.Series:
    """Inverse of :func:`stored_references`."""
    return references.str.rpartition("#")[2].astype(int)
