"""Data sets in Arrow form, as the hub hands them out: Parquet shards or a saved ``DatasetDict``, images inside."""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from data_modules.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset


def is_hub_form(root: Path) -> bool:
    """Whether ``root`` holds a saved ``DatasetDict``, or Parquet shards named by split in it or in its ``data``."""
    return (root / "dataset_dict.json").is_file() or bool(_shards(root))


def read_columns(root: Path, columns: tuple[str, ...], optional: tuple[str, ...] = ()) -> pd.DataFrame:
    """``columns`` and those of ``optional`` that exist, with ``split``, in the order of the tables.

    Raises:
        UserError: a column is missing, or a file is broken.
    """
    frames = []
    for split, table in _open(str(root)).items():
        if missing := [name for name in ("image", *columns) if name not in table.column_names]:
            raise UserError(
                f"{root}: found columns {', '.join(table.column_names)} in split {split}, expected {missing[0]}; "
                "download the data set again"
            )
        chosen = [name for name in (*columns, *optional) if name in table.column_names]
        frame = table.select_columns(chosen).to_pandas()
        frames.append(frame.assign(split=split))
    return pd.concat(frames, ignore_index=True)


def image_bytes(folder: str, split: str, row: int) -> bytes:
    """The image file in a row of a split. UserError where the data cannot be read."""
    value: Any = _open(folder)[split][row]["image"]
    return value["bytes"] if isinstance(value, dict) else value


def _shards(root: Path) -> list[Path]:
    return sorted([*root.glob("*.parquet"), *root.glob("data/*.parquet")])


@lru_cache(maxsize=4)
def _open(root: str) -> "dict[str, Dataset]":
    import datasets  # takes a second to import: only for data in this form

    folder = Path(root)
    files: dict[str, list[str]] = {}
    for shard in _shards(folder):
        files.setdefault(shard.stem.split("-")[0], []).append(str(shard))
    try:
        saved = (folder / "dataset_dict.json").is_file()
        tables = datasets.load_from_disk(root) if saved else datasets.load_dataset("parquet", data_files=files)
        return {
            str(split): table.cast_column("image", datasets.Image(decode=False))
            if "image" in table.column_names
            else table
            for split, table in tables.items()
        }
    except Exception as error:  # the library wraps every cause in its own types
        reason = str(error.__cause__ or error).strip().split("\n")[0]
        raise UserError(f"{root}: the Arrow data cannot be read ({reason}); download it again") from None
