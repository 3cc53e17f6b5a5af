"""Tables of image-text pairs in their file formats, and their columns under their usual names."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from data_modules.errors import UserError
from data_modules.index.tables import missing_column, read_table

NAMES = ("pairs.jsonl", "pairs.csv", "pairs.csv.gz", "pairs.parquet", "metadata.csv", "metadata.jsonl")


def read_pairs(root: Path, name: str | None) -> tuple[Path, pd.DataFrame]:
    """The table's path and its rows as text, blank = NA."""
    if not root.is_dir():
        raise UserError(f"{root}: folder not found; set data.root to the folder of the pairs")
    path = root / name if name else next((root / n for n in NAMES if (root / n).is_file()), None)
    if path is None or not path.is_file():
        raise UserError(f"{path or root}: found no table, expected one of {', '.join(NAMES)}; set data.table")
    if path.suffix in (".jsonl", ".json"):
        return path, _read_json_lines(path)
    if path.suffix == ".parquet":
        try:
            frame = pq.read_table(path).to_pandas()
        except (pa.ArrowException, OSError) as error:
            reason = str(error).split("\n")[0]
            raise UserError(f"{path}: broken Parquet file ({reason}); write it again") from None
        return path, _as_text(frame)
    return path, read_table(path)


def find_column(path: Path, table: pd.DataFrame, role: str, name: str | None, usual: Sequence[str]) -> str | None:
    """``name`` if given (it must be there), else the first usual name, whatever its case, else None."""
    if name is not None:
        if name not in table:
            raise UserError(f"{missing_column(path, name, table.columns.tolist())} or data.{role}_column")
        return name
    lower = {column.lower(): column for column in reversed(table.columns.tolist())}
    return next((lower[candidate] for candidate in usual if candidate in lower), None)


def locate_images(root: Path, names: pd.Series) -> pd.Series:
    """Full paths: below ``root``, else below ``root/images``."""

    def locate(name: str) -> str:
        inner = root / "images" / name
        return str(inner if not (root / name).is_file() and inner.is_file() else root / name)

    return names.map(locate)


def label_columns_to_numbers(path: Path, table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """float32 class columns: the columns themselves when numeric, or one class a value of a single text column."""
    for name in columns:
        if name not in table:
            raise UserError(missing_column(path, name, table.columns.tolist()))
    numbers = table[columns].apply(pd.to_numeric, errors="coerce")
    odd = numbers.isna() & table[columns].notna()
    if not odd.to_numpy().any():
        return numbers.astype("float32")
    if len(columns) > 1:
        name = odd.any().idxmax()
        row = odd[name].idxmax()
        raise UserError(f"{path}: found {table.at[row, name]!r} in row {row + 1}, column {name}, expected a number")
    values = table[columns[0]]
    return pd.get_dummies(values).astype("float32").where(values.notna(), float("nan"))


def _read_json_lines(path: Path) -> pd.DataFrame:
    records = []
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: found byte {error.start} that is not UTF-8; save the table as UTF-8") from None
    for row, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}: row {row} is not JSON ({error}); expected one object a line") from None
        if not isinstance(record, dict):
            raise UserError(f"{path}: row {row} is {type(record).__name__}, expected an object such as "
                            '{"image": "a.png", "text": "..."}')  # fmt: skip
        records.append(record)
    return _as_text(pd.DataFrame(records))


def _as_text(frame: pd.DataFrame) -> pd.DataFrame:
    frame.columns = frame.columns.astype(str).str.strip()
    for name in frame:
        frame[name] = frame[name].map(str, na_action="ignore").astype("string").str.strip()
    return frame.replace("", pd.NA)
