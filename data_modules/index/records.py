"""Tables whose cells may be lists: JSON lines, JSON documents, Parquet. Numbers are read as the text they are."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from data_modules.boundary import LARGEST_FILE, boundary, lines_of, parse_json, read_text, refuse_special
from data_modules.errors import UserError
from data_modules.index.hub import whole_table
from data_modules.index.splits import SPLIT_NAMES

EXACT = 2**53
"""Up to here every whole number is a floating-point number."""
BATCH = 1024
IMAGE, SPLIT, STUDY = "image", "split", "study"
EXPECTED = 'an object such as {"image": "a.png", "text": "..."}'


def read_json_table(path: Path, nested: Literal["refuse", "leave out"] = "refuse") -> pd.DataFrame:
    """Cells are text, lists of text, or None; the index is the row in the file, from 1. ``nested`` says what becomes of
    columns whose cells hold objects.

    A file of one object a line, of a list of objects, or of such a list by split: R2Gen's ``annotation.json``, whose
    ``id`` is the study. UserError with the row.
    """
    text = read_text(path)
    whole = _document(text, path) if path.suffix == ".json" else None
    records = dict(enumerate(lines_of(text) if whole is None else whole, start=1))
    if whole is None:
        lines = {row: line for row, line in records.items() if line.strip()}
        records = {row: parse_json(lines[row], f"{path}: row {row}", EXPECTED, numbers_as_text=True) for row in lines}
    for row, record in records.items():
        if not isinstance(record, dict):
            raise UserError(f"{path}: row {row} is {type(record).__name__}, expected {EXPECTED}")
    if nested == "leave out":
        of_objects = {name for record in records.values() for name, value in record.items() if _holds_objects(value)}
        records = {row: {n: v for n, v in r.items() if n not in of_objects} for row, r in records.items()}
    cells = [{name.strip(): _cell(value, path, row, name) for name, value in r.items()} for row, r in records.items()]
    return pd.DataFrame(cells, index=list(records), dtype=object)


def _document(text: str, path: Path) -> list[Any] | None:
    """The records of a JSON document; None where the file is one object a line."""
    try:
        whole = parse_json(text, str(path), "a list of objects, or one by split", numbers_as_text=True)
    except UserError:
        first = next((line for line in lines_of(text) if line.strip()), "")
        parse_json(first, f"{path}: row 1", EXPECTED)
        return None
    if isinstance(whole, list):
        return whole
    if not isinstance(whole, dict) or not whole or not all(isinstance(part, list) for part in whole.values()):
        return None
    if unknown := [name for name in whole if name.lower() not in SPLIT_NAMES]:
        raise UserError(
            f"{path}: found split {unknown[0]!r}, expected some of {', '.join(SPLIT_NAMES)}; rename the key"
        )
    return [_of_split(record, split) for split, part in whole.items() for record in part]


def _of_split(record: Any, split: str) -> Any:
    if not isinstance(record, dict):
        return record
    renamed = {STUDY if name == "id" and "study_id" not in record else name: value for name, value in record.items()}
    return renamed | {SPLIT: split}


def _holds_objects(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, list | dict) for item in value))


def _cell(value: Any, path: Path, row: int, name: str) -> str | list[str] | None:
    if isinstance(value, list) and not _holds_objects(value):
        return [str(item) for item in value if item is not None]
    if isinstance(value, list | dict):
        raise UserError(
            f"{path}: row {row}, column {name} holds {type(value).__name__} inside, expected text; flatten it"
        )
    return None if value is None else str(value)


def read_parquet_table(path: Path) -> pd.DataFrame:
    """Cells are text, lists of text, None, or (images inside) bytes as the library has them; index: row from 1.

    Raises:
        UserError: broken, too large, or whole numbers in a floating-point column that such a column cannot hold.
    """
    refuse_special(path)
    with boundary(f"{path}: broken Parquet file", "write it again"):
        file = pq.ParquetFile(path)
        parts, size = [], 0
        for batch in file.iter_batches(BATCH, columns=[f.name for f in file.schema_arrow if not _is_image(f)]):
            parts.append(batch)
            size += batch.nbytes
            if size > LARGEST_FILE:
                raise UserError(f"{path}: unpacks to more than {LARGEST_FILE:,} bytes, the limit; split the file")
        table = pa.Table.from_batches(parts) if parts else file.schema_arrow.empty_table()
        columns = {
            name.strip(): list(_texts(column.to_pylist(), path, name))
            for name, column in zip(table.column_names, table.columns, strict=True)
        }
        if holds_images(path):
            columns[IMAGE] = [f"{path.stem}/{row}" for row in range(1, table.num_rows + 1)]
    return pd.DataFrame(columns, index=range(1, table.num_rows + 1), dtype=object)


def read_hub_table(root: Path) -> pd.DataFrame:
    """Cells as :func:`read_parquet_table` has them, of data in the hub's form; ``split`` where there are several and no
    such column is there."""
    table, split = whole_table(root)
    columns = {name: list(_texts(table[name].to_pylist(), root, name)) for name in table.column_names}
    frame = pd.DataFrame(columns, dtype=object)
    frame[IMAGE] = split + "/" + (split.groupby(split).cumcount() + 1).astype(str)
    if split.nunique() > 1 and SPLIT not in frame:
        frame[SPLIT] = split
    return frame.set_axis(range(1, len(frame) + 1))


def _is_image(field: pa.Field) -> bool:
    """Whether a column holds image files: bytes, or the struct of bytes and path of the hub."""
    kind = field.type
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def holds_images(path: Path) -> bool:
    """Whether the column ``image`` of a Parquet file holds image files; UserError where another column does."""
    with boundary(f"{path}: broken Parquet file", "write it again"), pq.ParquetFile(path) as file:
        names = [field.name for field in file.schema_arrow if _is_image(field)]
    if names and (names != [IMAGE] or "-" in path.stem):
        raise UserError(
            f"{path}: found image files in column {names[0]}, expected column {IMAGE} and a file name without a "
            "hyphen; rename them"
        )
    return bool(names)


def _texts(values: list[Any], path: Path, name: str) -> Iterator[str | list[str] | None]:
    for row, value in enumerate(values, start=1):
        if isinstance(value, float):
            yield _number(value, path, row, name)
        elif isinstance(value, bytes):
            raise UserError(f"{path}: row {row}, column {name} holds bytes, expected text; write it as text")
        else:
            yield _cell(value, path, row, name)


def _number(value: float, path: Path, row: int, name: str) -> str | None:
    """Whole numbers without ``.0``: with one null, pandas makes floats of whole numbers."""
    if math.isnan(value):
        return None
    if math.isfinite(value) and value == int(value):
        if abs(value) >= EXACT:
            raise UserError(
                f"{path}: row {row}, column {name} is {value:.0f} as a floating-point number, which cannot tell it "
                "from its neighbours; write the column as text"
            )
        return str(int(value))
    return str(value)
