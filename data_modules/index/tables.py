"""Read CSV tables as they come: gzipped or not, with BOM, with spaces around names and values, columns by name."""

import csv
import difflib
import gzip
import io
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from data_modules.errors import UserError

GZIP = b"\x1f\x8b"


def find_table(folders: Iterable[Path], stem: str, advice: str) -> Path:
    """``stem`` + ``.csv.gz`` or ``.csv`` in the first folder that has it; UserError with ``advice`` otherwise."""
    searched = list(folders)
    for folder in searched:
        for suffix in (".csv.gz", ".csv"):
            if (folder / (stem + suffix)).is_file():
                return folder / (stem + suffix)
    places = " and ".join(map(str, searched))
    raise UserError(f"found no {stem}.csv.gz or {stem}.csv in {places}; {advice}")


def read_table(path: Path, columns: Sequence[str] | None = None, optional: Sequence[str] = ()) -> pd.DataFrame:
    """Text columns, stripped, blank = NA; ``columns`` must be there, ``optional`` may. None reads all columns.

    Raises:
        UserError: not a file, not UTF-8, broken gzip or CSV, or a column missing: with the nearest name there is.
    """
    if not path.is_file():
        raise UserError(f"{path}: table not found")
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if raw.startswith(GZIP) else raw).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: found byte {error.start} that is not UTF-8; save the table as UTF-8") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: broken gzip file ({error}); download it again") from None
    header = next(csv.reader(io.StringIO(text)), [])
    names = {name.strip(): place for place, name in enumerate(header)}
    wanted = list(names) if columns is None else [*columns, *(name for name in optional if name in names)]
    for name in wanted:
        if name not in names:
            raise UserError(missing_column(path, name, names))
    places = sorted(names[name] for name in wanted)
    try:
        frame = pd.read_csv(
            io.StringIO(text), header=0, usecols=places, dtype=str, keep_default_na=False, index_col=False
        )
    except pd.errors.ParserError as error:
        raise UserError(f"{path}: broken CSV ({str(error).strip()}); download it again") from None
    frame.columns = [header[place].strip() for place in places]
    return frame.apply(lambda column: column.str.strip()).replace("", pd.NA)[wanted]


def missing_column(path: Path, name: str, found: Iterable[str]) -> str:
    """The message for an absent column."""
    found = list(found)
    near = difflib.get_close_matches(name, found, n=1, cutoff=0.4)
    hint = f" (nearest: {near[0]})" if near else ""
    return f"{path}: found no column {name}{hint} among {', '.join(found)}; correct the table's header"
