"""Question files: a JSON list of records, read into the columns that every VQA data set has."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from data_modules.boundary import read_json
from data_modules.errors import UserError
from data_modules.index.faulty import Drop, drop_faulty
from data_modules.text.answers import TYPES, normalise_answer


def read_records(path: Path, fields: tuple[str, ...], drop: Drop) -> list[dict[str, Any]]:
    """The records of ``path``, each with all of ``fields``; a few without are dropped, see :func:`drop_faulty`.

    Raises:
        UserError: not a file, not JSON, not a list of objects, or a field missing in many; with the row.
    """
    if not path.exists():
        raise UserError(f"{path}: question file not found; complete the download, or correct data.root")
    content = read_json(path, "a list of questions")
    if not isinstance(content, list) or not content:
        raise UserError(f"{path}: found {type(content).__name__}, expected a list of questions; download it again")

    def problem(place: int) -> str | None:
        row, record = place + 1, content[place]
        if not isinstance(record, dict):
            return f"{path}: row {row} is {type(record).__name__}, expected an object; download it again"
        missing = next((name for name in fields if record.get(name) is None), None)
        return missing and f"{path}: row {row} has no {missing} (found {', '.join(record)}); correct the file"

    problems = pd.Series([problem(place) for place in range(len(content))], dtype=object)
    records = pd.Series(content, dtype=object)
    return drop_faulty(records, problems.notna(), problems.__getitem__, "question without a field", drop).tolist()


def question_frame(path: Path, records: list[dict[str, Any]], columns: Mapping[str, str], drop: Drop) -> pd.DataFrame:
    """A table of ``records``, as text, with answers and answer types in normal form; ``columns`` maps our column names
    to the fields of the file.

    A few questions without an answer, or with a type other than OPEN and CLOSED, are dropped, see :func:`drop_faulty`.

    Raises:
        UserError: many such questions; with the first one.
    """
    frame = pd.DataFrame({ours: [record[theirs] for record in records] for ours, theirs in columns.items()})
    frame["answer"] = frame["answer"].map(normalise_answer)
    frame["answer_type"] = frame["answer_type"].map(lambda kind: str(kind).strip().upper())
    for column in frame.columns.difference(["answer", "answer_type"]):
        frame[column] = frame[column].map(lambda value: " ".join(str(value).split()))

    def without(frame: pd.DataFrame, faulty: pd.Series, column: str, kind: str, expected: str) -> pd.DataFrame:
        def problem(place: int) -> str:
            name, found = frame[["id", column]].iloc[place]
            return (
                f"{path}: found {columns[column]} {found!r} in question {name}, expected {expected}; correct the file"
            )

        return drop_faulty(frame, faulty, problem, kind, drop)

    frame = without(frame, frame["answer"] == "", "answer", "blank answer", "an answer")
    odd = ~frame["answer_type"].isin(TYPES)
    return without(frame, odd, "answer_type", "unknown answer type", " or ".join(TYPES)).reset_index(drop=True)
