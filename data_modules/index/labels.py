"""Labels: columns of a table selected by class name, and the values that uncertain and blank labels become."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from data_modules.errors import UserError
from data_modules.index.faulty import Drop, leave_out, refuse_many
from data_modules.index.records import read_json_table
from data_modules.index.tables import RECORDS, missing_column, read_table, row_names

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
    {"Lung Opacity", "Airspace Opacity", "Airspace opacity"},
    {"Lung Lesion", "Nodule or mass"},
    {"Infiltration", "Infiltrate"},
    {"Other disease", "Other diseases"},
    {"Pleural Effusion", "Effusion", "Pleural effusion"},
    {"Pleural Thickening", "Pleural_Thickening", "Pleural thickening"},
    {"No Finding", "No finding"},
)
"""Names of one class in different tables."""

Uncertain = Literal["zeros", "ones", "ignore", "gloria"]
Blank = Literal["zeros", "ignore"]
GLORIA_ONES = ("Atelectasis", "Edema", "Pleural Effusion")
GLORIA_ZEROS = ("Cardiomegaly", "Consolidation")
"""What -1 becomes under ``gloria``, the policy of GLoRIA and MGCA for the five CheXpert competition classes."""
OPENI = (
    "Atelectasis",
    "Calcified Granuloma",
    "Cardiomegaly",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Fracture",
    "Granuloma",
    "Hernia",
    "Infiltration",
    "Lung Lesion",
    "Lung Opacity",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
)
"""The 18 classes of Open-i, named as torchxrayvision names them."""
TAKEN = (
    "id",
    "patient",
    "study",
    "split",
    "image",
    "lateral",
    "prior",
    "text",
    "group",
    "license",
    "corpus",
    "answer",
    "mask",
    "runs",
    "boxes",
    "box_labels",
    "box_frame",
)
"""Columns of an index that are no classes."""
UNREADABLE = "label other than 1, 0, -1 and blank"
POLICIES = {"zeros": 0.0, "ones": 1.0, "ignore": np.nan}


def join_labels(
    frame: pd.DataFrame,
    keys: pd.Series,
    table: tuple[Path, str],
    labels: list[str],
    policies: tuple[Uncertain, Blank],
    drop: Drop,
) -> pd.DataFrame:
    """``frame`` with the columns ``labels`` of a label table; samples with an unreadable label are dropped and counted.

    Args:
        frame: samples.
        keys: (len(frame),) key of each sample in the label table; one that is not listed has unknown labels (NaN).
        table: path of the label table, and its key column.
        labels: classes.
        policies: what -1 (uncertain) and blank (not mentioned) become.
        drop: counts samples by reason.

    Raises:
        UserError: those of :func:`read_labels`.
    """
    values, faulty = read_labels(*table, labels, *policies)
    labelled = frame.join(values.reindex(keys).set_axis(frame.index))
    return leave_out(labelled, keys.isin(list(faulty)), UNREADABLE, drop)


def read_labels(
    path: Path, key: str, labels: list[str], uncertain: Uncertain, blank: Blank
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The label columns of a table by ``key``, float32: 1, 0, and NaN for unknown; and the rows that are faulty.

    Policies for -1 are those of the CheXpert paper: ``zeros`` (U-Zeros), ``ones`` (U-Ones), ``ignore`` (U-Ignore:
    NaN, in no loss and no metric). ``gloria`` chooses by class and ignores -1 of the other classes. U-MultiClass and
    U-SelfTrained are not supported: they need another head, or soft labels of a first model.

    Returns:
        labels by key, without faulty rows; and for each faulty key what was found there.

    Raises:
        UserError: a class without a column, or values other than 1, 0, -1 and blank in more than one row and more than
            1 % of the rows.
    """
    table = read_json_table(path).reset_index(drop=True) if path.suffix in RECORDS else read_table(path)
    if key not in table:
        raise UserError(missing_column(path, key, table.columns.tolist()))
    known, problems = _known(path, table, labels)
    refuse_many(len(problems), len(table), lambda: next(iter(problems.values())))
    numbers = known.set_axis(table[key], axis=0).astype("float32")[~np.isin(np.arange(len(known)), list(problems))]
    filled = fill_uncertain(numbers.fillna(POLICIES[blank]), uncertain)
    faulty = {str(table[key].iloc[row]): problem for row, problem in problems.items()}
    return filled[~filled.index.duplicated()].astype("float32"), faulty


def fill_uncertain(numbers: pd.DataFrame, uncertain: Uncertain) -> pd.DataFrame:
    """float32 ``numbers``, one column a class, with -1 replaced as ``uncertain`` says: see :func:`read_labels`."""
    mixed = dict.fromkeys(GLORIA_ONES, 1.0) | dict.fromkeys(GLORIA_ZEROS, 0.0)
    filled = numbers.copy()
    for name in numbers:
        value = mixed.get(str(name), np.nan) if uncertain == "gloria" else POLICIES[uncertain]
        filled[name] = filled[name].mask(numbers[name] == -1, value)
    return filled.astype("float32")


def _known(path: Path, table: pd.DataFrame, labels: list[str]) -> tuple[pd.DataFrame, dict[int, str]]:
    """Label values with NaN for blank, and what is wrong with a row by its number."""
    found = table.columns.tolist()
    columns = {name: same_class(name, found) for name in labels}
    if absent := [name for name, column in columns.items() if column is None]:
        raise UserError(f"{missing_column(path, absent[0], found)} or data.labels")
    values = table[list(columns.values())].set_axis(labels, axis=1).astype("string")
    meant = {"1.0": 1.0, "1": 1.0, "0.0": 0.0, "0": 0.0, "-1.0": -1.0, "-1": -1.0}
    known = values.map(lambda text: meant.get(text, np.nan))
    odd = (known.isna() & values.notna()).to_numpy()
    rows = np.flatnonzero(odd.any(axis=1)).tolist()
    first = odd[rows].argmax(axis=1).tolist()
    return known, {
        row: f"{path}: found {values.iat[row, column]!r} in {where}, column {labels[column]}, expected 1.0, 0.0, -1.0 "
        "or blank; correct the table"
        for row, column, where in zip(rows, first, row_names(path, rows), strict=True)
    }


def same_class(name: str, others: Sequence[str]) -> str | None:
    """``name`` or another name of the same class among ``others``; None where there is none."""
    if name in others:
        return name
    names = next((group for group in SAME if name in group), {name})
    return next((other for other in others if other in names), None)


def refuse_taken(source: object, names: Iterable[str], passed_on: Iterable[str]) -> None:
    """UserError where a class has the name of another column of the index; ``source`` is the table or data set."""
    if taken := sorted({*TAKEN, *passed_on} & set(names)):
        raise UserError(
            f"{source}: found a class named {taken[0]}, the name of a column that every data set has; name the class "
            f"otherwise: data.label_columns {{Another name: {taken[0]}}}, or rename the column or value in the table"
        )


def refuse_without_positive(frame: pd.DataFrame, split: str, labels: Sequence[str]) -> None:
    """UserError naming the classes that no sample of a split has: nothing can be learned or selected by them."""
    absent = [name for name in labels if name in frame and len(frame) and not (frame[name] == 1).any()]
    if absent:
        more = f" (nor have {', '.join(absent[1:])})" if absent[1:] else ""
        raise UserError(
            f"class {absent[0]!r} has no positive among the {len(frame):,} samples of {split}{more}; leave it out "
            "of data.labels or data.label_columns, merge it with another name of its column, or draw another split"
        )
