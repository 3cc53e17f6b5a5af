"""Question files: a JSON list of records, read into the columns that every VQA data set has."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from data_modules.errors import UserError
from data_modules.text.answers import TYPES, normalise_answer, normalise_type


def read_records(path: Path, fields: tuple[str, ...]) -> list[dict[str, Any]]:
    """The records of ``path``, each with all of ``fields``.

    Raises:
        UserError: not a file, not JSON, not a list of objects, or a field missing; with the row.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"{path}: question file not found; complete the download, or correct data.root") from None
    except ValueError as error:
        raise UserError(f"{path}: broken JSON ({error}); download it again") from None
    if not isinstance(content, list) or not content:
        raise UserError(f"{path}: found {type(content).__name__}, expected a list of questions; download it again")
    for row, record in enumerate(content, start=1):
        if not isinstance(record, dict):
            raise UserError(f"{path}: row {row} is {type(record).__name__}, expected an object; download it again")
        if missing := [name for name in fields if record.get(name) is None]:
            raise UserError(f"{path}: row {row} has no {missing[0]} (found {', '.join(record)}); correct the file")
    return content


def question_frame(path: Path, records: list[dict[str, Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    """``columns`` (ours to the file's) as text; answers and answer types in their normal form.

    Raises:
        UserError: an empty answer, or a type other than OPEN and CLOSED; with the row.
    """
    frame = pd.DataFrame({ours: [record[theirs] for record in records] for ours, theirs in columns.items()})
    frame["answer"] = frame["answer"].map(normalise_answer)
    frame["answer_type"] = frame["answer_type"].map(normalise_type)
    for column in frame.columns.difference(["answer", "answer_type"]):
        frame[column] = frame[column].map(lambda value: " ".join(str(value).split()))
    for column, bad, expected in (
        ("answer", frame["answer"] == "", "an answer"),
        ("answer_type", ~frame["answer_type"].isin(TYPES), " or ".join(TYPES)),
    ):
        if bad.any():
            row = int(bad.to_numpy().argmax())
            raise UserError(
                f"{path}: found {columns[column]} {frame[column].iloc[row]!r} in row {row + 1} "
                f"(question {frame['id'].iloc[row]}), expected {expected}; correct the file"
            )
    return frame
