"""A prepared store: rows in Parquet, images once each in memory-mapped Arrow shards; `prepare` writes it.

```
<store>/manifest.json                what it was made of and with: options, counts, drops, hashes, versions
<store>/rows.parquet                 what `read_index` gave, with a split; `image` is a row of the image table
<store>/images/data-00000-of-00004.arrow     columns: `SCHEMA` of `shards`
```
"""

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from data_modules.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

Payload = Literal["jpeg", "raw"]
VERSION = 4
"""Raise when the same sources and options give other bytes."""
MANIFEST, ROWS, IMAGES = "manifest.json", "rows.parquet", "images"
PREFIX = "prepared:"


class Store:
    """A finished store; ``manifest`` is plain JSON."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest

    @property
    def label_names(self) -> list[str]:
        return self.manifest["label_names"]

    @property
    def dropped(self) -> dict[str, int]:
        return self.manifest["dropped"]

    def check_options(self, module: str, options: dict[str, Any], short_side: int | None) -> None:
        """UserError unless the store was made by this data module with these options and this short side."""
        made = self.manifest["options"]
        if self.manifest["module"] != module:
            raise UserError(f"{self.folder}: found a store of {self.manifest['module']}, expected one of {module}")
        options = json.loads(json.dumps(options, default=str))
        if different := sorted(key for key in made.keys() | options.keys() if made.get(key) != options.get(key)):
            key = different[0]
            raise UserError(
                f"{self.folder}: was prepared with {key} {made.get(key)!r}, found data.{key} {options.get(key)!r}; "
                f"set data.{key} to the former, or prepare another store"
            )
        if short_side not in (None, self.manifest["short_side"]):
            raise UserError(
                f"{self.folder}: was prepared with short side {self.manifest['short_side']}, found "
                f"data.augment.short_side {short_side}; set it to null, or prepare another store"
            )

    def table(self) -> pd.DataFrame:
        """As ``read_index`` gives them, but ``image`` is a row of the image table. ArrowException, OSError."""
        table = pq.read_table(self.folder / ROWS)
        frame = table.to_pandas()
        for field in table.schema:  # lists of lists, not arrays of arrays
            if pa.types.is_list(field.type):
                frame[field.name] = pd.Series(table[field.name].to_pylist(), frame.index, dtype=object)
        return frame

    def rows(self) -> pd.DataFrame:
        """As ``read_index`` gives them, with references in ``image``; opens the images, so that workers share them."""
        frame = self.table()
        if "image" in frame:
            image_table(str(self.folder))
            frame["image"] = self.reference(frame["image"])
        return frame

    def reference(self, numbers: pd.Series) -> pd.Series:
        """Rows of the image table as paths that ``read_image`` takes."""
        return f"{PREFIX}{self.folder}#" + numbers.astype(str)

    def images(self) -> pd.DataFrame:
        """file, sha256 and phash of every image, in the order of the table."""
        columns = ["file", "sha256", "phash"]
        return image_table(str(self.folder)).select_columns(columns).data.table.to_pandas(integer_object_nulls=True)


def open_store(folder: Path) -> Store | None:
    """The store in ``folder``, None where there is none; UserError for one of another version."""
    if not (folder / MANIFEST).is_file() or not (folder / ROWS).is_file():
        return None
    return Store(folder, read_manifest(folder / MANIFEST))


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a store; UserError where it is gone, broken or of another version."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: found no readable JSON ({error}); copy the store again") from None
    version = manifest.get("version") if isinstance(manifest, dict) else None
    if version != VERSION:
        raise UserError(f"{path}: found version {version}, expected {VERSION}; prepare the store again")
    return manifest


def seal(manifest: dict[str, Any]) -> str:
    """SHA-256 of everything in a manifest but its own ``seal``."""
    content = {key: value for key, value in manifest.items() if key != "seal"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def is_prepared(path: object) -> bool:
    """Whether ``path`` is a reference into a store and not a file."""
    return str(path).startswith(PREFIX)


def prepared_image(reference: str, enough: int | None = None) -> np.ndarray:
    """uint8 (H, W) or (H, W, 3) as it was stored; raw pixels are read where they lie, without a copy.

    A JPEG may be decoded smaller, as far as its shorter side keeps ``enough`` pixels.

    Raises:
        UserError: the store is gone or broken.
    """
    from data_modules.images.decode import decode

    folder, _, row = reference.removeprefix(PREFIX).rpartition("#")
    record = image_table(folder).data.fast_slice(int(row), 1)
    payload = record.column("payload")[0].as_buffer()
    if payload is None:
        raise UserError(f"{folder}: image {row} was broken when the store was prepared; prepare it again")
    if not record.column("raw")[0].as_py():
        return decode(pa.BufferReader(payload), reference, enough=enough)
    width, height = record.column("width")[0].as_py(), record.column("height")[0].as_py()
    pixels = np.frombuffer(payload, np.uint8)
    return pixels.reshape((height, width) if len(pixels) == height * width else (height, width, 3))


def prepared_size(reference: str) -> tuple[int, int]:
    """(width, height) of the file that a stored image was made from; masks and boxes refer to it."""
    folder, _, row = reference.removeprefix(PREFIX).rpartition("#")
    record = image_table(folder).data.fast_slice(int(row), 1)
    return record.column("source_width")[0].as_py(), record.column("source_height")[0].as_py()


@lru_cache(maxsize=8)
def image_table(folder: str) -> "Dataset":
    """The image shards of a store as one memory-mapped table."""
    import datasets  # takes a second to import: only where there is a store

    paths = sorted(Path(folder, IMAGES).glob("*.arrow"))
    expected = json.loads(Path(folder, MANIFEST).read_text())["shards"]
    if [path.name for path in paths] != sorted(expected):
        raise UserError(f"{folder}: found {len(paths)} shards, expected {len(expected)}; copy the store again")
    try:
        return datasets.concatenate_datasets([datasets.Dataset.from_file(str(path)) for path in paths])
    except (pa.ArrowException, OSError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"{folder}: broken shard ({reason}); copy the store again") from None
