"""Question files: a JSON list of records, read into the columns that every VQA data set has."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from data_modules.boundary import read_json
from data_modules.errors import UserError
from data_modules.index.faulty import Drop, few
from data_modules.text.answers import TYPES, normalise_answer, normalise_type

ODD_TYPE = ("unknown answer type", " or ".join(TYPES))


def read_records(path: Path, fields: tuple[str, ...], drop: Drop) -> list[dict[str, Any]]:
    """The records of ``path``, each with all of ``fields``; a few without are counted, see :func:`few`.

    Raises:
        UserError: not a file, not JSON, not a list of objects, or a field missing in many; with the row.
    """
    if not path.exists():
        raise UserError(f"{path}: question file not found; complete the download, or correct data.root")
    content = read_json(path, "a list of questions")
    if not isinstance(content, list) or not content:
        raise UserError(f"{path}: found {type(content).__name__}, expected a list of questions; download it again")
    problems: dict[int, str] = {}
    for row, record in enumerate(content, start=1):
        if not isinstance(record, dict):
            problems[row] = f"{path}: row {row} is {type(record).__name__}, expected an object; download it again"
        elif missing := [name for name in fields if record.get(name) is None]:
            problems[row] = f"{path}: row {row} has no {missing[0]} (found {', '.join(record)}); correct the file"
    few(list(problems.values()), len(content), "question without a field", drop)
    return [record for row, record in enumerate(content, start=1) if row not in problems]


def question_frame(path: Path, records: list[dict[str, Any]], columns: Mapping[str, str], drop: Drop) -> pd.DataFrame:
    """A table of ``records``, as text, with answers and answer types in normal form; ``columns`` maps our column names
    to the fields of the file.

    A few questions without an answer, or with a type other than OPEN and CLOSED, are counted, see :func:`few`.

    Raises:
        UserError: many such questions; with the first one.
    """
    frame = pd.DataFrame({ours: [record[theirs] for record in records] for ours, theirs in columns.items()})
    frame["answer"] = frame["answer"].map(normalise_answer)
    frame["answer_type"] = frame["answer_type"].map(normalise_type)
    for column in frame.columns.difference(["answer", "answer_type"]):
        frame[column] = frame[column].map(lambda value: " ".join(str(value).split()))
    for column, kind, expected in (("answer", "blank answer", "an answer"), ("answer_type", *ODD_TYPE)):
        bad = frame["answer"] == "" if column == "answer" else ~frame["answer_type"].isin(TYPES)
        problems = [
            f"{path}: found {columns[column]} {found!r} in question {name}, expected {expected}; correct the file"
            for name, found in zip(frame.loc[bad, "id"], frame.loc[bad, column], strict=True)
        ]
        few(problems, len(frame), kind, drop)
        frame = frame[~bad]
    return frame.reset_index(drop=True)
