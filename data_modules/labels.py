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
    chosen = [_column(path, name, table.columns.tolist()) for name in labels]
    if key not in table:
        raise UserError(missing_column(path, key, table.columns.tolist()))
    values = table.set_index(key)[chosen].set_axis(labels, axis=1).astype("string")
    known = values.map({"1.0": 1.0, "1": 1.0, "0.0": 0.0, "0": 0.0, "-1.0": -1.0, "-1": -1.0}.get, na_action="ignore")
    odd = known.isna() & values.notna()
    if odd.to_numpy().any():
        row, column = np.argwhere(odd.to_numpy())[0]
        raise UserError(f"{path}: found {values.iat[row, column]!r} in row {row + 2}, column {labels[column]}, "
                        "expected 1.0, 0.0, -1.0 or blank; correct the table")  # fmt: skip
    numbers = known.astype("float32")
    policy = {"zeros": 0.0, "ones": 1.0, "ignore": np.nan}
    filled = numbers.fillna(policy[blank]).mask(numbers == -1, policy[uncertain])
    return filled[~filled.index.duplicated()].astype("float32")


def _column(path: Path, name: str, found: list[str]) -> str:
    names = next((group for group in SAME if name in group), {name})
    there = [column for column in found if column in names]
    if not there:
        raise UserError(missing_column(path, name, found))
    return there[0]
