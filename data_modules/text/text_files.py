"""Files of texts alone, for a tokeniser: the same readers as of image-text pairs."""

from collections.abc import Iterator
from pathlib import Path

from data_modules.boundary import lines_of, read_text
from data_modules.errors import UserError
from data_modules.index.files import files_below
from data_modules.index.pair_tables import TEXT, find_column, read_pairs
from data_modules.text.openi_reports import read_openi

EXPECTED = (
    "a folder of .txt files, a .txt (one text a line), a .jsonl, .csv, .csv.gz or .parquet table, or Open-i's .tgz"
)
TABLES = (".jsonl", ".json", ".csv", ".tsv", ".csv.gz", ".parquet")


def read_texts(path: Path) -> Iterator[str]:
    """The texts of ``path`` in a stable order. Raises UserError for what cannot be read."""
    if path.is_dir():
        return (read_text(file) for file in files_below(path, [".txt"]))
    if not path.exists():
        raise UserError(f"{path} does not exist; expected {EXPECTED}")
    if path.name.endswith(TABLES):
        return _column(path)
    if path.suffix in (".tgz", ".gz"):
        return (f"{report['findings']} {report['impression']}" for report in read_openi(path))
    if path.suffix == ".txt":
        return iter(lines_of(read_text(path)))
    raise UserError(f"{path}: found {path.suffix or 'no suffix'}, expected {EXPECTED}")


def _column(path: Path) -> Iterator[str]:
    _, table = read_pairs(path.parent, path.name)
    column = find_column(path, table, "text", None, TEXT)
    if column is None:
        found = ", ".join(table.columns)
        raise UserError(
            f"{path}: found columns {found}, expected one of {', '.join(TEXT)}; rename the one of the texts"
        )
    return iter(table[column].dropna().tolist())
