"""Which split a row is in: the names of splits, and the check that no patient is in two."""

import numpy as np
import pandas as pd

from data_modules.errors import UserError

SPLITS = ("train", "val", "test")
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "dev": "val",
    "development": "val",
    "test": "test",
    "testing": "test",
}


def has_splits(frame: pd.DataFrame) -> bool:
    """Whether the data set says which split a row is in; a column of blanks does not."""
    return "split" in frame and bool(frame["split"].notna().any())


def normalise_splits(splits: pd.Series, ids: pd.Series) -> pd.Series:
    """``validate``, ``valid``, ``validation`` ... become ``val``; an unknown or blank name is a UserError."""
    named = splits.astype("string").str.strip().str.lower().map(SPLIT_NAMES)
    if named.isna().any():
        row = int(np.flatnonzero(named.isna())[0])
        raise UserError(
            f"found split {splits.iloc[row]!r} of sample {ids.iloc[row]}, expected one of {', '.join(SPLIT_NAMES)}; "
            "correct the table"
        )
    return named


def check_disjoint(frame: pd.DataFrame) -> None:
    """UserError naming a patient that is in two splits; blank patients are not compared."""
    pairs = frame.loc[frame["patient"].notna(), ["patient", "split"]].drop_duplicates()
    twice = pairs[pairs["patient"].duplicated(keep=False)]
    if len(twice):
        patient = twice["patient"].iloc[0]
        splits = " and ".join(sorted(twice.loc[twice["patient"] == patient, "split"]))
        raise UserError(
            f"found patient {patient} in {splits} ({twice['patient'].nunique()} such patients), expected every "
            "patient in one split; correct the split table, or remove the split column to draw one by patient"
        )
