"""Files of texts alone, for a tokeniser: the same readers as of image-text pairs."""

from collections.abc import Iterator
from pathlib import Path

from data_modules.boundary import lines_of, read_text
from data_modules.errors import UserError
from data_modules.index.files import files_below
from data_modules.index.pair_tables import TEXT, find_column, read_pairs
from data_modules.index.tables import missing_column
from data_modules.text.openi_reports import read_openi

EXPECTED = (
    "a folder of .txt files, a .txt (one text a line), a .jsonl, .csv, .csv.gz or .parquet table, or Open-i's .tgz"
)
TABLES = (".jsonl", ".json", ".csv", ".tsv", ".csv.gz", ".parquet")


def read_texts(path: Path, column: str | None = None) -> Iterator[str]:
    """The texts of ``path`` in a stable order.

    Args:
        path: what ``EXPECTED`` names.
        column: of the texts in a table; default: the first usual name there is.

    Raises:
        UserError: what cannot be read, a column that is not there, or one that is named for what is not a table.
    """
    if column is not None and not path.name.endswith(TABLES):
        raise UserError(f"{path} is not a table, and has no column {column}; leave --column out")
    if path.is_dir():
        return (read_text(file) for file in files_below(path, [".txt"]))
    if not path.exists():
        raise UserError(f"{path} does not exist; expected {EXPECTED}")
    if path.name.endswith(TABLES):
        return _column(path, column)
    if path.suffix in (".tgz", ".gz"):
        return (f"{report['findings']} {report['impression']}" for report in read_openi(path))
    if path.suffix == ".txt":
        return iter(lines_of(read_text(path)))
    raise UserError(f"{path}: found {path.suffix or 'no suffix'}, expected {EXPECTED}")


def _column(path: Path, name: str | None) -> Iterator[str]:
    _, table = read_pairs(path.parent, path.name)
    if name is not None and name not in table:
        raise UserError(missing_column(path, name, table.columns.tolist()))
    column = find_column(path, table, "text", name, TEXT)
    if column is None:
        found = ", ".join(table.columns)
        raise UserError(
            f"{path}: found columns {found}, expected one of {', '.join(TEXT)}; name the one of the texts with --column"
        )
    return iter(table[column].dropna().tolist())
