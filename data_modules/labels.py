"""Labels selected by name, never by position, and what uncertain and blank ones become."""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from data_modules.tables import missing_column, read_table
from mpma_lightning.errors import UserError

CHEXPERT = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    "No Finding",
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
    "Support Devices",
)
SAME = ({"Lung Opacity", "Airspace Opacity"}, {"Infiltration", "Infiltrate"}, {"Other disease", "Other diseases"})
"""Names of one class in different tables."""

Uncertain = Literal["zeros", "ones", "ignore"]
Blank = Literal["zeros", "ignore"]


def read_labels(path: Path, key: str, labels: list[str], uncertain: Uncertain, blank: Blank) -> pd.DataFrame:
    """float32 columns ``labels`` by ``key``: 1, 0, and -1 (uncertain) or blank (not mentioned) as asked; ignore = NaN.

    ``Airspace Opacity`` and ``Lung Opacity`` are the same class. A key that is not listed stays unknown.
    """
    table = read_table(path)
    if key not in table:
        raise UserError(missing_column(path, key, table.columns.tolist()))
    known, odd = _known(path, table, labels)
    if odd:
        raise UserError(f"{odd[0]}, expected 1.0, 0.0, -1.0 or blank; correct the table")
    numbers = known.set_axis(table[key], axis=0).astype("float32")
    policy = {"zeros": 0.0, "ones": 1.0, "ignore": np.nan}
    filled = numbers.fillna(policy[blank]).mask(numbers == -1, policy[uncertain])
    return filled[~filled.index.duplicated()].astype("float32")


def odd_labels(path: Path, labels: list[str]) -> list[str]:
    """Every value that is none of 1, 0, -1 and blank, with its row and column."""
    return _known(path, read_table(path), labels)[1]


def _known(path: Path, table: pd.DataFrame, labels: list[str]) -> tuple[pd.DataFrame, list[str]]:
    chosen = [_column(path, name, table.columns.tolist()) for name in labels]
    values = table[chosen].set_axis(labels, axis=1).astype("string")
    known = values.map({"1.0": 1.0, "1": 1.0, "0.0": 0.0, "0": 0.0, "-1.0": -1.0, "-1": -1.0}.get, na_action="ignore")
    places = np.argwhere((known.isna() & values.notna()).to_numpy())
    return known, [f"{path}: found {values.iat[r, c]!r} in row {r + 2}, column {labels[c]}" for r, c in places]


def _column(path: Path, name: str, found: list[str]) -> str:
    names = next((group for group in SAME if name in group), {name})
    there = [column for column in found if column in names]
    if not there:
        raise UserError(missing_column(path, name, found))
    return there[0]
