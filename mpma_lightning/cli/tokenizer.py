"""Trains a tokeniser on report texts, offline: once for many runs, or for texts that are not a data set."""

import csv
import json
from collections.abc import Container, Iterator
from pathlib import Path

from data_modules.errors import UserError
from data_modules.text.openi_reports import read_openi
from data_modules.text.sections import clean

_COLUMNS = ("text", "report", "caption")
_EXPECTED = "a folder of .txt files, or a .txt (one text a line), .jsonl, .csv or Open-i .tgz file"


def train_tokenizer(texts: Path, out: Path, vocab_size: int = 8192) -> str:
    """Train a WordPiece tokeniser and write it as a tokenizers JSON file.

    Use it with ``--data.text.tokenizer FILE``.

    Args:
        texts: a folder of .txt files, or a .txt (one text a line), .jsonl, .csv or Open-i .tgz file; the column
            of a .jsonl or .csv file is text, report or caption.
        out: the .json file to write.
        vocab_size: largest number of pieces.

    Returns:
        One line that says what was written.
    """
    from data_modules.text.tokenizer import Tokenizer

    if out.suffix != ".json":
        raise UserError(f"--out {out}: expected a name that ends in .json")
    found = [text for text in map(clean, read_texts(texts)) if text]
    if not found:
        raise UserError(f"{texts} holds no text; expected {_EXPECTED}")
    tokenizer = Tokenizer.train(found, vocab_size)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(tokenizer.to_json(), encoding="utf-8")
    return f"{out}: {len(tokenizer)} pieces from {len(found)} texts; use it with --data.text.tokenizer {out}"


def read_texts(path: Path) -> Iterator[str]:
    """The texts of ``path`` in a stable order. Raises UserError for what cannot be read."""
    readers = {".txt": _lines, ".jsonl": _jsonl, ".csv": _csv, ".tgz": _openi, ".gz": _openi}
    if path.is_dir():
        return (file.read_text(encoding="utf-8") for file in sorted(path.rglob("*.txt")))
    if not path.is_file():
        raise UserError(f"{path} does not exist; expected {_EXPECTED}")
    if path.suffix not in readers:
        raise UserError(f"{path}: found {path.suffix or 'no suffix'}, expected {_EXPECTED}")
    return readers[path.suffix](path)


def _lines(path: Path) -> Iterator[str]:
    yield from path.read_text(encoding="utf-8").splitlines()


def _jsonl(path: Path) -> Iterator[str]:
    for number, line in enumerate(_lines(path), start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}:{number}: not JSON ({error.msg}); expected one object a line") from None
        yield str(row[_column(row, f"{path}:{number}")] or "")


def _csv(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        column = _column(rows.fieldnames or [], str(path))
        yield from (row[column] or "" for row in rows)


def _column(names: Container[str], where: str) -> str:
    column = next((name for name in _COLUMNS if name in names), None)
    if column is None:
        raise UserError(f"{where}: found no column {', '.join(_COLUMNS)}; rename the one that holds the texts")
    return column


def _openi(path: Path) -> Iterator[str]:
    yield from (f"{report['findings']} {report['impression']}" for report in read_openi(path))
