"""Columns of the index that a data module passes on to the batch under their own names."""

from collections.abc import Mapping

import pandas as pd

from data_modules.contract import Batch, Kind
from data_modules.errors import UserError

TRUTH = {"True": True, "False": False, "1": True, "0": False, "1.0": True, "0.0": False}


def as_declared(frame: pd.DataFrame, passed_on: Mapping[str, Kind]) -> pd.DataFrame:
    """``frame`` with its columns ``passed_on`` in their types: ``str`` (blank: ""), ``float`` (float64, blank: NaN),
    ``bool``.

    Raises:
        UserError: a column is missing, or a value is not of its type.
        ValueError: a declared name is a key of :class:`Batch`.
    """
    return frame.assign(**{name: _column(frame, name, kind) for name, kind in passed_on.items()})


def _column(frame: pd.DataFrame, name: str, kind: Kind) -> pd.Series:
    if name in Batch.__annotations__:
        raise ValueError(f"passed_on declares {name!r}, which is a key of Batch; choose another name")
    if name not in frame:
        raise UserError(
            f"found no column {name}, expected one, as passed_on of the data module declares it; add it in read_index, "
            "or prepare the store again"
        )
    column = frame[name]
    if kind == "str":
        return column.astype("string").fillna("").astype(object)
    values = pd.to_numeric(column, errors="coerce") if kind == "float" else column.astype("string").map(TRUTH.get)
    odd = values.isna() & (column.notna() if kind == "float" else True)
    if odd.any():
        sample, value = frame["id"][odd].iloc[0], column[odd].iloc[0]
        expected = "a number or blank" if kind == "float" else "True or False"
        raise UserError(f"sample {sample}: found {value!r} in column {name}, expected {expected}; correct read_index")
    return values.astype("float64" if kind == "float" else bool)
