"""Tables of image-text pairs in their file formats, and their columns under their usual names."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from data_modules.errors import UserError
from data_modules.index.files import existing_file, require_folder
from data_modules.index.hub import is_hub_form
from data_modules.index.labels import Uncertain, fill_uncertain
from data_modules.index.records import STUDY, holds_images, read_hub_table, read_json_table, read_parquet_table
from data_modules.index.tables import RECORDS, missing_column, read_table, row_name

NAMES = (
    "pairs.jsonl",
    "pairs.csv",
    "pairs.csv.gz",
    "pairs.tsv",
    "pairs.parquet",
    "metadata.csv",
    "metadata.jsonl",
    "annotation.json",
)
IMAGE = ("image", "image_file", "image_path", "file_name", "filename", "path", "img")
TEXT = ("text", "caption", "report", "note", "note_clean", "report_content")
USUAL = {
    "group": ("group", "study", "study_id"),
    "patient": ("patient", "patient_id", "patientid", "subject_id"),
    "split": ("split", "subset"),
    "license": ("license", "licence"),
}
"""The usual names of further columns, by role."""


def read_pairs(
    root: Path, name: str | None, image: str | None = None, lists: Collection[str] = ()
) -> tuple[Path, pd.DataFrame]:
    """The table's path and its rows as text, blank = NA; one row an image, where a record lists several. Columns
    ``lists`` keep their lists.

    The images of a list are of one study: without a column for it, ``study`` is the first of them. A list of texts
    becomes one text. A list in the column ``image`` (default: the first usual name) is one of images. For data in the
    hub's form, the path is the folder.
    """
    require_folder(root, "the pairs")
    path = root / name if name else next((root / n for n in NAMES if (root / n).is_file()), None)
    if path is None and is_hub_form(root):
        return root, _as_text(read_hub_table(root), lists)
    if path is None or not path.is_file():
        raise UserError(f"{path or root}: found no table, expected one of {', '.join(NAMES)}; set data.table")
    if path.suffix not in RECORDS:
        return path, read_table(path)
    table = read_parquet_table(path) if path.suffix == ".parquet" else read_json_table(path)
    column = find_column(path, table, "image", image, IMAGE)
    if column is not None and table[column].map(lambda cell: isinstance(cell, list)).any():
        if find_column(path, table, "group", None, USUAL["group"]) is None:
            table[STUDY] = [cell[0] if isinstance(cell, list) and cell else cell for cell in table[column]]
        table = table.explode(column)
    return path, _as_text(table.reset_index(drop=True), lists)


def has_inside(path: Path) -> bool:
    """Whether the table that :func:`read_pairs` read has its images inside, so that they have names of rows."""
    return path.is_dir() or (path.suffix == ".parquet" and holds_images(path))


def find_column(path: Path, table: pd.DataFrame, role: str, name: str | None, usual: Sequence[str]) -> str | None:
    """``name`` if given (it must be there), else the first usual name, whatever its case, else None."""
    if name is not None:
        if name not in table:
            raise UserError(f"{missing_column(path, name, table.columns.tolist())} or data.{role}_column")
        return name
    lower = {column.lower(): column for column in reversed(table.columns.tolist())}
    return next((lower[candidate] for candidate in usual if candidate in lower), None)


def describe_samples(path: Path, table: pd.DataFrame, image: str, given: Mapping[str, str | None]) -> pd.DataFrame:
    """id, study, patient, and split and license where ``table`` has them, of rows that have an ``image``.

    The id is the image's name, with #1, #2, … where an earlier row has the same one. Without a group, rows of one image
    are one study; without a patient, every study is a patient.

    Args:
        path: of the table, for errors.
        table: as :func:`read_pairs` gives it.
        image: the column of the images.
        given: names of columns by role, where they are not the usual ones.
    """
    column = {role: find_column(path, table, role, given.get(role), usual) for role, usual in USUAL.items()}
    names, again = table[image], table.groupby(image).cumcount()
    frame = pd.DataFrame({"id": names.where(again == 0, names + "#" + again.astype(str))})
    frame["study"] = names if column["group"] is None else table[column["group"]].fillna(frame["id"])
    frame["patient"] = frame["study"] if column["patient"] is None else table[column["patient"]].fillna(frame["study"])
    return frame.assign(**{role: table[name] for role in ("split", "license") if (name := column[role]) is not None})


def locate_images(root: Path, names: pd.Series) -> pd.Series:
    """Full paths: below ``root``, else below ``root/images``."""
    return names.map(lambda name: str(existing_file((root, root / "images"), name) or root / name))


def label_columns_to_numbers(
    path: Path, table: pd.DataFrame, columns: list[str], uncertain: Uncertain | None = None
) -> pd.DataFrame:
    """float32 class columns: columns of 1, 0 and blank (unknown), or one class a value of a single text column, or one
    a name of a single column of lists of names, whose empty list is that of none.

    -1 is what ``uncertain`` says, as in CheXpert's tables; without it, and any other number, it is a UserError.
    """
    if listed := [name for name in columns if name in table and holds_lists(table[name])]:
        if len(columns) > 1:
            raise UserError(
                f"{path}: found lists in column {listed[0]}, expected 1, 0 or blank, as data.label_columns names "
                f"{len(columns)} columns; set data.label_columns to [{listed[0]}], which makes a class of every name"
            )
        return _named_in_lists(table[listed[0]])
    numbers = pd.DataFrame({name: _numbers(path, table, name) for name in columns}, index=table.index)
    texts = table[columns]
    if len(columns) == 1 and (numbers.isna() & texts.notna()).to_numpy().any():
        values = texts[columns[0]]
        return pd.get_dummies(values).astype("float32").where(values.notna(), float("nan"))
    odd = texts.notna() & ~numbers.isin([0, 1] if uncertain is None else [0, 1, -1])
    if odd.to_numpy().any():
        row, place = np.argwhere(odd.to_numpy())[0]
        accept = "set data.uncertain to zeros, ones or ignore, which says what -1 becomes"
        name_it = (
            "write names, such as grade 2, into one text column, whose values become classes, or give a column of "
            "numbers to predict as data.target_column"
        )
        where = f"{row_name(path, int(row))}, column {columns[place]}"
        raise UserError(
            f"{path}: found {texts.iat[row, place]!r} in {where}, expected 1, 0 or blank; "
            f"{accept if numbers.iat[row, place] == -1 else name_it}"
        )
    numbers = numbers.astype("float32")
    return numbers if uncertain is None else fill_uncertain(numbers, uncertain)


def _named_in_lists(cells: pd.Series) -> pd.DataFrame:
    """float32, one column a name: 1 where the list of a row has it, NaN where there is no list."""
    named = cells.map(lambda cell: {*cell} if isinstance(cell, list) else {cell} - {pd.NA})
    names = sorted(set().union(*named))
    found = pd.DataFrame({name: [float(name in own) for own in named] for name in names}, index=cells.index)
    known = cells.map(lambda cell: isinstance(cell, list) or cell is not pd.NA).astype(bool)
    return found.where(known, float("nan")).astype("float32")


def column_of_numbers(path: Path, table: pd.DataFrame, name: str) -> pd.Series:
    """float64, NaN where blank; UserError with the first row that holds anything but a finite number."""
    numbers = _numbers(path, table, name)
    odd = np.flatnonzero(table[name].notna() & ~np.isfinite(numbers))
    if len(odd):
        raise UserError(
            f"{path}: found {table[name].iloc[odd[0]]!r} in {row_name(path, int(odd[0]))}, column {name}, expected a "
            "number or blank; correct the table"
        )
    return numbers


def _numbers(path: Path, table: pd.DataFrame, name: str) -> pd.Series:
    """float64, NaN where a cell is blank or no number."""
    if name not in table:
        raise UserError(missing_column(path, name, table.columns.tolist()))
    return pd.Series(pd.to_numeric(table[name], errors="coerce"), dtype="Float64").astype("float64")


def holds_lists(cells: pd.Series) -> bool:
    """Whether any cell is a list."""
    return bool(cells.map(lambda cell: isinstance(cell, list)).any())


def _as_text(frame: pd.DataFrame, lists: Collection[str]) -> pd.DataFrame:
    for name in frame:
        if name in lists and holds_lists(frame[name]):
            frame[name] = frame[name].map(lambda cell: pd.NA if cell is None else cell)
            continue
        cells = frame[name].map(lambda cell: " ".join(cell) if isinstance(cell, list) else cell)
        frame[name] = cells.astype("string").str.strip()
    return frame.replace("", pd.NA)
