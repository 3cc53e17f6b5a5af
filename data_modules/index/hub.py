"""Data sets in Arrow form, as the hub hands them out: Parquet shards, a saved ``DatasetDict`` or ``Dataset``, images
inside.

They are read where they lie. (The library ``datasets`` would copy Parquet into the user's cache and report its use.)
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from data_modules.boundary import boundary, read_json, refuse_special
from data_modules.errors import UserError
from data_modules.index.files import APPLE_DOUBLE

REMEDY = "download it again"
IMAGE = "image"
ONLY = "all"
"""What the rows of a ``Dataset`` that was saved alone are called."""
LARGEST_GROUP = 2 << 30
"""Bytes of the images that are read together."""


@dataclass
class Part:
    """Rows that are read together: a row group of a Parquet file, or a memory-mapped Arrow file."""

    rows: int
    read: Callable[[list[str]], pa.Table]


@dataclass
class Split:
    """A split: its column names, and its parts in order."""

    columns: list[str]
    parts: list[Part] = field(default_factory=list)

    def table(self, columns: list[str]) -> pa.Table:
        return pa.concat_tables(part.read(columns) for part in self.parts)

    def place(self, row: int) -> tuple[int, int]:
        """The part of a row, and its row there."""
        ends = list(accumulate(part.rows for part in self.parts))
        part = bisect_right(ends, row)
        return part, row - (ends[part - 1] if part else 0)


def is_hub_form(root: Path) -> bool:
    """Whether ``root`` holds a saved ``DatasetDict`` or ``Dataset``, or Parquet shards named by split in it or in its
    ``data``."""
    return any((root / name).is_file() for name in ("dataset_dict.json", "state.json")) or bool(_shards(root))


def whole_table(root: Path) -> tuple[pa.Table, pd.Series]:
    """All columns but the images, and the split of each row.

    Raises:
        UserError: no column ``image``, columns differ between splits, or a file is broken.
    """
    splits = _open(str(root))
    first = next(iter(splits.values())).columns
    for name, split in splits.items():
        if IMAGE not in split.columns or {*split.columns} != {*first}:
            raise UserError(
                f"{root}: found columns {', '.join(split.columns)} in split {name}, expected {IMAGE} and the same in "
                "every split; rename them"
            )
    columns = [name for name in first if name != IMAGE]
    with boundary(f"{root}: the Arrow data cannot be read", REMEDY):
        tables = [split.table(columns) for split in splits.values()]
        table = pa.concat_tables(tables, promote_options="permissive")  # a column without a value has no type
    return table, pd.Series([*splits]).repeat([each.num_rows for each in tables]).reset_index(drop=True)


def read_columns(root: Path, columns: tuple[str, ...], optional: tuple[str, ...] = ()) -> pd.DataFrame:
    """``columns`` and those of ``optional`` that exist, with ``split``, in the order of the tables.

    Raises:
        UserError: a column is missing, or a file is broken.
    """
    frames = []
    for split, part in _open(str(root)).items():
        if missing := [name for name in (IMAGE, *columns) if name not in part.columns]:
            raise UserError(
                f"{root}: found columns {', '.join(part.columns)} in split {split}, expected {missing[0]}; "
                "download the data set again"
            )
        chosen = [name for name in (*columns, *optional) if name in part.columns]
        with boundary(f"{root}: the Arrow data cannot be read", REMEDY):
            frames.append(part.table(chosen).to_pandas().assign(split=split))
    return pd.concat(frames, ignore_index=True)


def image_bytes(folder: str, split: str, row: int) -> bytes:
    """The image file in a row of a split. UserError where the data cannot be read."""
    part, place = _open(folder)[split].place(row)
    value: Any = _images(folder, split, part)[place].as_py()
    value = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(value, bytes):
        raise UserError(f"{folder}: row {row} of split {split} holds no image file, expected its bytes; {REMEDY}")
    return value


@lru_cache(maxsize=4)
def _images(folder: str, split: str, part: int) -> pa.ChunkedArray:
    """The images of a part: neighbours are often asked for next, and a row group is read as a whole."""
    with boundary(f"{folder}: the images of split {split} cannot be read", REMEDY):
        return _open(folder)[split].parts[part].read([IMAGE]).column(IMAGE)


def _shards(root: Path) -> list[Path]:
    found = [*root.glob("*.parquet"), *root.glob("data/*.parquet")]
    return sorted(path for path in found if not path.name.startswith(APPLE_DOUBLE))


@lru_cache(maxsize=4)
def _open(root: str) -> dict[str, Split]:
    folder = Path(root)
    with boundary(f"{root}: the Arrow data cannot be read", REMEDY):
        if (folder / "dataset_dict.json").is_file():
            names = read_json(folder / "dataset_dict.json", "the splits of a saved DatasetDict")["splits"]
            return {str(name): _saved(folder / str(name)) for name in names}
        if (folder / "state.json").is_file():
            return {ONLY: _saved(folder)}
        splits: dict[str, Split] = {}
        for shard in _shards(folder):
            columns, parts = _parquet(shard)
            splits.setdefault(shard.stem.split("-")[0], Split(columns)).parts.extend(parts)
        return splits


def _parquet(path: Path) -> tuple[list[str], list[Part]]:
    refuse_special(path)
    with pq.ParquetFile(path) as file:
        meta, columns = file.metadata, file.schema_arrow.names
    groups = [meta.row_group(number) for number in range(meta.num_row_groups)]
    if (largest := max((group.total_byte_size for group in groups), default=0)) > LARGEST_GROUP:
        raise UserError(
            f"{path}: found a row group of {largest:,} bytes, expected at most {LARGEST_GROUP:,}; write it with "
            "smaller row groups"
        )

    def reader(number: int) -> Callable[[list[str]], pa.Table]:
        return lambda columns: pq.ParquetFile(path).read_row_group(number, columns, use_threads=False)

    return columns, [Part(group.num_rows, reader(number)) for number, group in enumerate(groups)]


def _saved(folder: Path) -> Split:
    state = read_json(folder / "state.json", "the files of a saved data set")
    if state.get("_indices_data_files"):
        raise UserError(
            f"{folder}: found a selection of rows, expected them written out; save it with flatten_indices()"
        )
    tables = []
    for entry in state["_data_files"]:
        if Path(entry["filename"]).name != entry["filename"]:
            raise UserError(f"{folder}: found file {entry['filename']} in state.json, expected one of the folder")
        refuse_special(folder / entry["filename"])
        tables.append(pa.ipc.open_stream(pa.memory_map(str(folder / entry["filename"]))).read_all())
    parts = [Part(table.num_rows, table.select) for table in tables]
    return Split(tables[0].column_names if tables else [], parts)
