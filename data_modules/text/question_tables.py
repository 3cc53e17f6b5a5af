"""Tables of questions in any format, and their columns under their usual names."""

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from data_modules.errors import UserError
from data_modules.index.faulty import Drop, drop_faulty
from data_modules.index.hub import is_hub_form
from data_modules.index.pair_tables import IMAGE, find_column
from data_modules.index.records import read_json_table, read_parquet_table
from data_modules.index.splits import SPLIT_NAMES
from data_modules.index.tables import RECORDS, read_table, row_name
from data_modules.text.answers import TYPES, join_answers, normalise_answer, split_answers

USUAL = {
    "image": (*IMAGE, "img_name", "image_name", "image_id", "figure_path"),
    "question": ("question",),
    "answer": ("answer", "answers"),
    "split": ("split", "subset"),
    "answer_type": ("answer_type",),
    "question_type": ("question_type", "content_type", "semantic_type", "category"),
    "language": ("language", "q_lang", "lang"),
    "choices": ("choices", "options"),
    "patient": ("patient", "patient_id", "subject_id"),
    "id": ("id", "qid", "question_id", "idx"),
}
"""Usual names of the columns, by role; of several the first one that is there."""
ENDINGS = (".jsonl", ".json", ".csv", ".csv.gz", ".tsv", ".parquet")
CHOICE = re.compile(r"\s*[A-Ha-h]\s*[:.)]\s*(?=\S)")
"""``A:`` before the text of a choice, with the space around it."""


def find_tables(root: Path, name: str | None) -> dict[Path, str | None]:
    """The table ``name``, else ``questions`` in any format, else one table a split, such as ``valid.json``; each with
    the split that its name gives; none where ``root`` is in the hub's form. UserError where there is no table."""
    wanted = [name] if name else [f"questions{ending}" for ending in ENDINGS]
    one = next((root / file for file in wanted if (root / file).is_file()), None)
    if one is not None:
        return {one: None}
    found: dict[Path, str | None] = {}
    taken: dict[str, Path] = {}
    for stem, split in SPLIT_NAMES.items() if name is None else ():
        for file in (root / f"{stem}{ending}" for ending in ENDINGS):
            if not file.is_file():
                continue
            if split in taken:
                raise UserError(f"{root}: found {taken[split].name} and {file.name}, expected one table of {split}")
            found[file], taken[split] = split, file
    if not found:
        if is_hub_form(root) and not name:
            return {}
        expected = name or f"questions{ENDINGS[0]}, or train{ENDINGS[0]} and test{ENDINGS[0]} ({', '.join(ENDINGS)})"
        raise UserError(f"{root}: found no table of questions, expected {expected}; set data.table")
    return found


def read_cells(path: Path) -> pd.DataFrame:
    """Cells are text, lists of text, or NA; columns whose cells hold objects are not read. The index counts from 0."""
    if path.suffix not in RECORDS:
        return read_table(path)
    if path.suffix == ".parquet":
        table = read_parquet_table(path)
    else:
        table = read_json_table(path, nested="leave out")
    return table.reset_index(drop=True)


def question_rows(
    path: Path, table: pd.DataFrame, given: dict[str, str | Sequence[str] | None], join: str, drop: Drop
) -> pd.DataFrame:
    """patient, text, answer, answer_type, question_type, and id, split, language, choices where ``table`` has them.

    ``answer`` is in normal form, several of a list joined; ``choices`` are joined in their order, and an answer that is
    the letter of one is that one. Rows without an image, question or answer, or whose answer is no choice, are dropped,
    see :func:`drop_faulty`. Without answer types, a question with choices is CLOSED, and so are answers yes and no.

    Args:
        path: of the table, for errors.
        table: as :func:`read_cells` gives it.
        given: names of columns by role, where they are not the usual ones; of the choices one column or several.
        join: what several answers of one cell are separated by; "" if a list of the cell is meant.
        drop: counts rows by reason.

    Raises:
        UserError: no column for image, question or answer, or many faulty rows.
    """
    columns: dict[str, str] = {}
    for role in USUAL.keys() - {"choices"}:
        name = given.get(role)
        assert name is None or isinstance(name, str)
        if (column := find_column(path, table, role, name, USUAL[role])) is not None:
            columns[role] = column
    if absent := [role for role in ("image", "question", "answer") if role not in columns]:
        raise UserError(
            f"{path}: found columns {', '.join(table.columns)}, expected one of {', '.join(USUAL[absent[0]])}; name it "
            f"with data.{absent[0]}_column"
        )
    frame = pd.DataFrame({role: table[column] for role, column in columns.items()})
    for role in frame.columns.difference(["answer"]):
        frame[role] = frame[role].map(_squeezed).astype("string")
    choices = _choices(path, table, given.get("choices"))
    answers = [_answers(cell, join) for cell in frame["answer"]]
    frame["answer"] = [_chosen(*pair) for pair in zip(answers, choices, strict=True)]
    frame["choices"] = [join_answers(own, ordered=True) if own else None for own in choices]

    def faulty(frame: pd.DataFrame, role: str, out: pd.Series, expected: str, kind: str) -> pd.DataFrame:
        def problem(place: int) -> str:
            row, found = _row(path, int(frame.index[place])), frame[role].iloc[place]
            what = "nothing" if pd.isna(found) else repr(found)
            return f"{path}: found {what} as {role} in {row}, expected {expected}; correct the file"

        return drop_faulty(frame, out, problem, kind, drop)

    for role, kind in (("image", "no image"), ("question", "blank question"), ("answer", "blank answer")):
        frame = faulty(frame, role, frame[role].isna(), f"one in column {columns[role]}", kind)
    pairs = zip(frame["answer"], frame["choices"], strict=True)
    outside = [not pd.isna(several) and answer not in split_answers(several) for answer, several in pairs]
    kind = "answer that is no choice"
    frame = faulty(frame, "answer", pd.Series(outside, frame.index, dtype=bool), "one of the choices", kind)
    closed = frame["answer"].isin(["yes", "no"]) | frame["choices"].notna()
    guessed = closed.map({True: "CLOSED", False: "OPEN"})
    if "answer_type" not in frame:
        frame["answer_type"] = guessed
    kinds = frame["answer_type"].str.upper().fillna(guessed)
    frame = frame.assign(answer_type=kinds, question_type=frame.get("question_type", pd.Series("", frame.index)))
    frame["question_type"] = frame["question_type"].fillna("")
    odd = ~frame["answer_type"].isin(TYPES)
    frame = faulty(frame, "answer_type", odd, " or ".join(TYPES), "unknown answer type")
    if frame["choices"].isna().all():
        frame = frame.drop(columns="choices")
    frame["patient"] = frame["image"] if "patient" not in frame else frame["patient"].fillna(frame["image"])
    return frame.rename(columns={"question": "text", "image": "name"})


def _row(path: Path, row: int) -> str:
    return f"line {row + 1}" if path.suffix == ".txt" else f"row {row + 1}" if path.is_dir() else row_name(path, row)


def _chosen(answer: str | None, choices: list[str]) -> str | None:
    """The choice that an answer names by its letter or repeats with it."""
    if not answer or not choices or answer in choices:
        return answer
    letter = ord(answer) - ord("a") if len(answer) == 1 else -1
    return choices[letter] if 0 <= letter < len(choices) else plain_choice(answer)


def _answers(cell: object, join: str) -> str | None:
    """In normal form, joined; None for a blank cell, "" for an empty list, which is the answer that there is none."""
    if isinstance(cell, list):
        return join_answers(map(normalise_answer, cell))
    if _is_blank(cell) or not normalise_answer(cell):
        return None
    return join_answers(map(normalise_answer, str(cell).split(join) if join else [cell]))


def _choices(path: Path, table: pd.DataFrame, given: str | Sequence[str] | None) -> list[list[str]]:
    """The choices of each row in their order, in normal form, without the letters before them."""
    if isinstance(given, str) or given is None:
        name = find_column(path, table, "choices", given, USUAL["choices"])
        cells: list[object] = [None] * len(table) if name is None else table[name].tolist()
        rows = [cell if isinstance(cell, list) else [] if _is_blank(cell) else str(cell).split("|") for cell in cells]
    else:
        columns = [find_column(path, table, "choices", name, ()) for name in given]
        rows = [["" if _is_blank(cell) else cell for cell in row] for row in table[columns].itertuples(index=False)]
    return [[plain_choice(one) for one in row] if any(row) else [] for row in rows]


def plain_choice(text: str) -> str:
    """``" A: Liver "`` as ``liver``."""
    return normalise_answer(CHOICE.sub("", text, count=1))


def _squeezed(cell: object) -> object:
    return pd.NA if _is_blank(cell) else " ".join(str(cell).split()) or pd.NA


def _is_blank(cell: object) -> bool:
    return not isinstance(cell, list) and bool(pd.isna(cell))  # type: ignore[call-overload]
