"""Read CSV tables as they come: gzipped or not, with BOM, with spaces around names and values, columns by name."""

import csv
import difflib
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from data_modules.boundary import read_text
from data_modules.errors import UserError

SEPARATORS = (",", ";", "\t")
LONGEST_FIELD = 16 << 20
"""Characters of one field."""
RECORDS = (".jsonl", ".json", ".parquet")
"""Endings of files of records, which have no header."""
csv.field_size_limit(LONGEST_FIELD)


def find_table(folders: Sequence[Path], stems: str | Sequence[str], advice: str) -> Path:
    """The first of ``stems`` with ending ``.csv.gz`` or ``.csv`` in the first of ``folders`` that has one.

    UserError with ``advice`` where no folder has one.
    """
    names = [stem + ending for stem in ([stems] if isinstance(stems, str) else stems) for ending in (".csv.gz", ".csv")]
    found = next((path for folder in folders for name in names if (path := folder / name).is_file()), None)
    if found is None:
        raise UserError(f"found no {' or '.join(names)} in {' and '.join(map(str, folders))}; {advice}")
    return found


def read_table(path: Path, columns: Sequence[str] | None = None, optional: Sequence[str] = ()) -> pd.DataFrame:
    """Text columns, stripped, blank = NA; ``columns`` must be there, ``optional`` may. None reads all columns.

    The separator is the one of comma, semicolon and tab that the header has most of. Rows of blanks are no rows.

    Raises:
        UserError: not a file, not UTF-8, broken gzip or CSV, a row with other fields than the header, a column named
            twice, or a column missing: with the nearest name there is.
    """
    if not path.is_file():
        raise UserError(f"{path}: table not found")
    records = _records(path)
    _, header = next(records, (0, []))
    if not any(header):
        raise UserError(f"{path}: found an empty table, expected a header and rows; download it again")
    places: dict[str, list[int]] = {}
    for place, name in enumerate(header):
        places.setdefault(name, []).append(place)
    wanted = [n for n in places if n] if columns is None else [*columns, *(name for name in optional if name in places)]
    for name in wanted:
        if name not in places:
            raise UserError(missing_column(path, name, [found for found in places if found]))
        if len(places[name]) > 1:
            raise UserError(f"{path}: found column {name} {len(places[name])} times in the header; rename one")
    taken = [places[name][0] for name in wanted]
    rows = [[record[place] for place in taken] for _, record in records]
    frame = pd.DataFrame(rows, columns=wanted, dtype="str")
    return frame.replace("", pd.NA)


def row_names(path: Path, rows: Iterable[int]) -> list[str]:
    """Where to look in a file for the rows, from 0, of its table: ``row 5 (line 7)``. The file is read again.

    In a CSV table the header is row 1; quoted line breaks and blank rows make lines differ. Records of JSON and Parquet
    files are counted from 1.
    """
    wanted = list(rows)
    if path.suffix in RECORDS:
        return [f"row {row + 1}" for row in wanted]
    lines = [line for line, _ in _records(path)][1:] if wanted else []
    return [_place(int(row) + 2, lines[row]) for row in wanted]


def row_name(path: Path, row: int) -> str:
    """:func:`row_names` of one row."""
    return row_names(path, [row])[0]


def _place(row: int, line: int) -> str:
    return f"row {row}" + f" (line {line})" * (line != row)


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line and stripped fields of the header and of each row that is not blank, as many fields as the header has."""
    text = io.StringIO(read_text(path), newline="")
    separator = max(SEPARATORS, key=text.readline().count)
    text.seek(0)
    reader = csv.reader(text, delimiter=separator, strict=True)
    row, width, named, line = 1, 0, 0, 1
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise UserError(
                f"{path}: broken CSV in row {row} (lines {line} to {reader.line_num}: {error}); put quotes around "
                "fields with a separator or a line break, and write a quote inside as two"
            ) from None
        if fields is None:
            return
        fields = [field.strip() for field in fields]
        if any(fields):
            if row == 1:
                width = len(fields)
                named = max(place for place, name in enumerate(fields, start=1) if name)
            elif len(fields) < named or any(fields[width:]):
                raise UserError(
                    f"{path}: found {len(fields)} fields in {_place(row, line)}, expected {width} as in the header; "
                    "put quotes around fields that hold the separator"
                )
            yield line, fields
            row += 1
        line = reader.line_num + 1


def missing_column(path: Path, name: str, found: Iterable[str]) -> str:
    """The message for an absent column."""
    found = list(found)
    near = difflib.get_close_matches(name, found, n=1, cutoff=0.4)
    hint = f" (nearest: {near[0]})" if near else ""
    return f"{path}: found no column {name}{hint} among {', '.join(found)}; correct this name, or the table's header"
