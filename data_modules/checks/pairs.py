"""Pairs: rows left out, and groups (the table's own) that must not be in two splits."""

import pandas as pd

from data_modules.base import DataModule
from data_modules.checks.result import CheckResult
from data_modules.index.pair_tables import IMAGE, TEXT, find_column, read_pairs
from data_modules.index.tables import row_names
from data_modules.index.words import count_words
from data_modules.pairs import PairsDataModule
from data_modules.text.named_sections import extract_named


def examine(data: DataModule, result: CheckResult) -> pd.DataFrame:
    """The rows of the table that have an image and a text."""
    assert isinstance(data, PairsDataModule)
    frame = data.read_index().reset_index(drop=True)
    path, table = read_pairs(data.root, data.table, data.image_column)
    image = find_column(path, table, "image", data.image_column, IMAGE)
    text = find_column(path, table, "text", data.text_column, TEXT)
    result.counts["rows"] = len(table)
    if text is None or data.images_only:
        return frame
    rows = pd.Series([f"{path}: {row}" for row in row_names(path, table.index)], index=table.index)
    texts = table[text].fillna("").map(lambda told: extract_named(told, data.sections, data.language))
    without = table[text].notna() & texts.isna()
    words = texts.fillna("").map(count_words).mask(without)
    few = max(data.text.min_tokens, 1)
    result.found("warning", "row without an image", rows[table[image].isna()], "left out")
    result.found("warning", "row without a text", rows[words == 0], "left out")
    result.found("info", f"report without {data.sections.replace('+', ' or ')}", rows[without], "left out")
    result.found("info", f"text under {few} words", rows[(words > 0) & (words < few)], "left out")
    return frame
