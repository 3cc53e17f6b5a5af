"""Labels selected by name, never by position, and what uncertain and blank ones become."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from data_modules.errors import UserError
from data_modules.index.tables import missing_column, read_table, row_names

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
SAME = (
    {"Lung Opacity", "Airspace Opacity"},
    {"Infiltration", "Infiltrate"},
    {"Other disease", "Other diseases"},
    {"Pleural Effusion", "Effusion"},
    {"Pleural Thickening", "Pleural_Thickening"},
    {"No Finding", "No finding"},
)
"""Names of one class in different tables."""

Uncertain = Literal["zeros", "ones", "ignore", "gloria"]
Blank = Literal["zeros", "ignore"]
GLORIA_ONES = ("Atelectasis", "Edema", "Pleural Effusion")
GLORIA_ZEROS = ("Cardiomegaly", "Consolidation")
"""What -1 becomes under ``gloria``, the policy of GLoRIA and MGCA for the five CheXpert competition classes."""


POLICIES = {"zeros": 0.0, "ones": 1.0, "ignore": np.nan}


def read_labels(path: Path, key: str, labels: list[str], uncertain: Uncertain, blank: Blank) -> pd.DataFrame:
    """float32 columns ``labels`` by ``key``: 1, 0, and -1 (uncertain) or blank (not mentioned) as asked.

    Policies for -1 are those of the CheXpert paper: ``zeros`` (U-Zeros), ``ones`` (U-Ones), ``ignore`` (U-Ignore:
    NaN, in no loss and no metric); ``gloria`` mixes them by class and ignores -1 of the other classes.

    Two policies of the paper are not here. U-MultiClass makes uncertain a third value of every class, U-SelfTrained
    fills in the probabilities of a first model fitted with ``ignore``: they ask for another head, and for two runs and
    soft labels. No protocol here uses them, and the paper found no policy best for all classes.

    ``Airspace Opacity`` and ``Lung Opacity`` are the same class. A key that is not listed stays unknown.
    """
    table = read_table(path)
    if key not in table:
        raise UserError(missing_column(path, key, table.columns.tolist()))
    known, odd = _known(path, table, labels)
    if odd:
        raise UserError(f"{odd[0]}, expected 1.0, 0.0, -1.0 or blank; correct the table")
    numbers = known.set_axis(table[key], axis=0).astype("float32")
    filled = fill_uncertain(numbers.fillna(POLICIES[blank]), uncertain)
    return filled[~filled.index.duplicated()].astype("float32")


def fill_uncertain(numbers: pd.DataFrame, uncertain: Uncertain) -> pd.DataFrame:
    """float32 ``numbers``, one column a class, with -1 replaced as ``uncertain`` says: see :func:`read_labels`."""
    mixed = dict.fromkeys(GLORIA_ONES, 1.0) | dict.fromkeys(GLORIA_ZEROS, 0.0)
    filled = numbers.copy()
    for name in numbers:
        value = mixed.get(str(name), np.nan) if uncertain == "gloria" else POLICIES[uncertain]
        filled[name] = filled[name].mask(numbers[name] == -1, value)
    return filled.astype("float32")


def odd_labels(path: Path, labels: list[str]) -> list[str]:
    """Every value that is none of 1, 0, -1 and blank, with its row and column."""
    return _known(path, read_table(path), labels)[1]


def _known(path: Path, table: pd.DataFrame, labels: list[str]) -> tuple[pd.DataFrame, list[str]]:
    chosen = [_column(path, name, table.columns.tolist()) for name in labels]
    values = table[chosen].set_axis(labels, axis=1).astype("string")
    meant = {"1.0": 1.0, "1": 1.0, "0.0": 0.0, "0": 0.0, "-1.0": -1.0, "-1": -1.0}
    known = values.map(lambda text: meant.get(text, np.nan))
    places = np.argwhere((known.isna() & values.notna()).to_numpy())
    where = row_names(path, places[:, 0])
    return known, [
        f"{path}: found {values.iat[r, c]!r} in {row}, column {labels[c]}"
        for (r, c), row in zip(places, where, strict=True)
    ]


def same_class(name: str, others: Sequence[str]) -> str | None:
    """``name`` or another name of the same class among ``others``; None where there is none."""
    if name in others:
        return name
    names = next((group for group in SAME if name in group), {name})
    return next((other for other in others if other in names), None)


def _column(path: Path, name: str, found: list[str]) -> str:
    column = same_class(name, found)
    if column is None:
        raise UserError(f"{missing_column(path, name, found)} or data.labels")
    return column


def refuse_without_positive(frame: pd.DataFrame, split: str, labels: Sequence[str]) -> None:
    """UserError naming the classes that no sample of a split has: nothing can be learned or selected by them."""
    absent = [name for name in labels if name in frame and len(frame) and not (frame[name] == 1).any()]
    if absent:
        more = f" (nor have {', '.join(absent[1:])})" if absent[1:] else ""
        raise UserError(
            f"class {absent[0]!r} has no positive among the {len(frame):,} samples of {split}{more}; leave it out "
            "of data.labels or data.label_columns, or draw another split"
        )
