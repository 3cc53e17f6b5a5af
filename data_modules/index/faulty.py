"""Rows that are left out, counted by reason; of faulty records a few, as many mean that the file is a wrong one."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pandas as pd

from data_modules.errors import UserError

SHARE = 0.01
"""Largest share of faulty records; one faulty record is accepted in a set of any size."""
Drop = Callable[[str, int], None]
"""Counts samples that are left out, by reason."""
Rows = TypeVar("Rows", pd.DataFrame, pd.Series)


def leave_out(rows: Rows, out: pd.Series, reason: str, drop: Drop) -> Rows:
    """``rows`` without those where ``out`` (bool, in the order of the rows) is true, which ``drop`` counts."""
    chosen = out.to_numpy(bool)
    drop(reason, int(chosen.sum()))
    return rows[~chosen]


def drop_faulty(rows: Rows, faulty: pd.Series, problem: Callable[[int], str], kind: str, drop: Drop) -> Rows:
    """``rows`` without the faulty ones.

    Args:
        rows: the records of a file.
        faulty: bool (len(rows),).
        problem: the error message for the record at a place, from 0: file, row, what was found, what was expected.
        kind: the reason under which the faulty rows are counted.
        drop: counts them.

    Raises:
        UserError: that of :func:`refuse_many`.
    """
    places = np.flatnonzero(faulty)
    refuse_many(len(places), len(rows), lambda: problem(int(places[0])))
    return leave_out(rows, faulty, kind, drop)


def refuse_many(count: int, total: int, first: Callable[[], str]) -> None:
    """UserError with the message ``first``, where ``count`` of ``total`` records are faulty and these are too many.

    Too many: all of the records, or more than one and more than 1 %.
    """
    if count and (count > max(1, SHARE * total) or count == total):
        raise UserError(first() + (f" ({count:,} of {total:,} such records)" if count > 1 else ""))
