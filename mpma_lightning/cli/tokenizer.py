"""Trains a tokeniser on report texts, offline: once for many runs, or for texts that are not a data set."""

from pathlib import Path

from data_modules.errors import UserError
from data_modules.files import write_whole
from data_modules.text.sections import clean
from data_modules.text.text_files import EXPECTED, read_texts


def train_tokenizer(
    texts: Path, out: Path, vocab_size: int = 8192, min_count: int = 5, column: str | None = None
) -> str:
    """Train a WordPiece tokeniser and write it as a tokenizers JSON file.

    Use it with ``--data.text.tokenizer FILE``.

    Args:
        texts: a folder of .txt files, a .txt (one text a line), a .jsonl, .csv, .csv.gz or .parquet table, or Open-i's
            .tgz.
        out: the .json file to write.
        vocab_size: largest number of pieces.
        min_count: learn pieces only from words without digits that occur in at least this many texts, and never from
            bracketed names; 1: from all words.
        column: of the texts in a table; default: the first of text, caption, report and the other usual names, as for
            ``data.text_column`` of PairsDataModule.

    Returns:
        One line that says what was written.
    """
    from data_modules.text.tokenizer import Tokenizer

    if out.suffix != ".json":
        raise UserError(f"--out {out}: expected a name that ends in .json")
    found = [text for text in map(clean, read_texts(texts, column)) if text]
    if not found:
        raise UserError(f"{texts} holds no text; expected {EXPECTED}")
    tokenizer = Tokenizer.train(found, vocab_size, min_count)
    write_whole(out, tokenizer.to_json())
    return f"{out}: {len(tokenizer)} pieces from {len(found)} texts; use it with --data.text.tokenizer {out}"
