"""Visual question answering: the base of its data sets, and questions of any table."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from data_modules.base import DataModule
from data_modules.contract import DataSpec
from data_modules.errors import UserError
from data_modules.images.source import image_source, table_references
from data_modules.index.draws import hold_out_units, random_splits
from data_modules.index.files import existing_file, require_folder
from data_modules.index.hub import is_hub_form, read_columns
from data_modules.index.hub_folder import local_folder
from data_modules.index.records import holds_images
from data_modules.index.splits import has_splits, normalise_splits
from data_modules.text.answers import contrasted, majority_answers, split_answers, vocabulary
from data_modules.text.question_tables import USUAL, find_tables, question_rows, read_cells
from data_modules.text.tokenizer import TextOptions

HELD_OUT = 0.1
"""Share of the training images that validates where there is no validation split."""
DRAW_SEED = 0
"""Of the images held out, and of a split of images: part of the protocol, whatever the seed of a run."""
QUESTION_TEXT = TextOptions(max_tokens=32, min_tokens=1)


class VQADataModule(DataModule):
    """``read_index`` gives, beside the usual columns, answer, answer_type (OPEN, CLOSED) and question_type.

    ``text`` is the question, and the image counts as the ``patient``: no image is in two splits unless the protocol
    allows it. Answers are in the normal form of ``normalise_answer``.
    """

    protocol: str
    """Id of the evaluation protocol: the splits and the vocabulary."""
    vocabulary_splits: tuple[str, ...] = ("train",)
    several_answers: Literal["all", "any"] = "all"
    """Where a question may have several answers: whether a prediction must give ``all`` of them, or ``any`` one."""

    def __init__(self, text: TextOptions = QUESTION_TEXT, **common: Any) -> None:
        super().__init__(text=text, **common)

    def check_rows(self, rows: pd.DataFrame) -> pd.DataFrame:
        frame = super().check_rows(rows)
        return frame.assign(contrasted=contrasted(frame))

    def _make_spec(self, counts: dict[str, int], digest: str) -> DataSpec:
        spec = super()._make_spec(counts, digest)
        if self.index is None:
            return spec
        spec.protocol = self.protocol
        if self.index["answer"].map(lambda answer: len(split_answers(answer)) != 1).any():
            spec.several_answers = self.several_answers
        spec.answers = vocabulary(self.index, self.vocabulary_splits)
        train = self.index[self.index["split"] == "train"]
        spec.majority_answers = majority_answers(train, one_by_one=spec.several_answers == "any")
        test = self.index[self.index["split"] == "test"]
        known = set(spec.answers)
        reached = any if self.several_answers == "any" else all
        outside = ~test["answer"].map(lambda several: reached(one in known for one in split_answers(several))).astype(
            bool
        )
        closed = test["answer_type"] == "CLOSED"
        spec.notes.append(
            f"vocabulary: {len(spec.answers):,} answers of {'+'.join(self.vocabulary_splits)}; {int(outside.sum()):,} "
            f"of {len(test):,} test answers are missing ({int((outside & ~closed).sum()):,} open, "
            f"{int((outside & closed).sum()):,} closed): counted wrong, the ceiling is "
            f"{1 - outside.mean() if len(test) else float('nan'):.1%}"
        )
        return spec


class QuestionsDataModule(VQADataModule):
    """Questions on images in tables of JSON, JSON lines, CSV or Parquet: one table, or one a split (``train.json``, …).

    The columns of image, question and answer are needed; further ones are read where they are there, under their usual
    names or as they are given. In Parquet the images may be inside, as in the hub's form. Images lie below ``images``
    or anywhere the names lead to from the root. A blank answer is a faulty row.

    An answer may be a list: then a prediction must give all of them (an empty list: none). Where a question has
    choices, the prediction is the likeliest of those that the vocabulary has. Without a validation split, a tenth of
    the training images validate; without any split, 80/10/10 by image. Neither depends on the seed.

    Args:
        root: folder of the tables, or a name on the hub, ``hf://datasets/<owner>/<name>``.
        table: file name; by default ``questions`` in any format, else one table a split.
        image_column, question_column, answer_column: default: the first usual name.
        answer_type_column: OPEN or CLOSED; without one, yes, no and questions with choices are CLOSED.
        question_type_column: any names; accuracy is reported by each.
        choices_column: a column of lists (in CSV, with | between), or several columns of one choice each. A letter
            before a choice (``A:``) is not part of it.
        split_column, language_column: as they are named.
        patient_column: without one every image is a patient; no patient is in two splits.
        language: keep only the questions of this language; the split of each is its own.

    The other arguments are those of ``DataModule``.
    """

    protocol = "vqa-questions"
    images: ClassVar[tuple[str, ...]] = ("images", ".", "figures")
    """Folders of the root that image names are looked for in, in this order."""
    choices: ClassVar[tuple[str, ...]] = ()
    """Columns of one choice each, where ``choices_column`` names none."""

    def __init__(
        self,
        root: str,
        table: str | None = None,
        image_column: str | None = None,
        question_column: str | None = None,
        answer_column: str | None = None,
        answer_type_column: str | None = None,
        question_type_column: str | None = None,
        choices_column: str | Sequence[str] | None = None,
        split_column: str | None = None,
        language_column: str | None = None,
        patient_column: str | None = None,
        language: str | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self._root, self.table, self.language = root, table, language
        self.image_column, self.question_column, self.answer_column = image_column, question_column, answer_column
        self.answer_type_column, self.question_type_column = answer_type_column, question_type_column
        self.choices_column = (
            choices_column if choices_column is None or isinstance(choices_column, str) else list(choices_column)
        )
        self.split_column, self.language_column, self.patient_column = split_column, language_column, patient_column

    def rows(self) -> pd.DataFrame:
        return self._with_choices(super().rows())

    def _with_choices(self, rows: pd.DataFrame) -> pd.DataFrame:
        """``rows``, whose choices, if it has any, are passed on to the batch."""
        if "choices" not in rows:
            return rows
        self.passed_on = {"choices": "str"}
        return rows.assign(choices=rows["choices"].fillna(""))

    @property
    def root(self) -> Path:
        """The folder, which a name on the hub is downloaded to."""
        return local_folder(self._root)

    def read_index(self) -> pd.DataFrame:
        require_folder(self.root, "the questions")
        if not (parts := self.parts()) and is_hub_form(self.root):
            frame = self._hub()
        else:
            frame = pd.concat([self._part(path, split) for path, split in parts.items()], ignore_index=True)
        if self.language is not None:
            frame = self._of_language(frame)
        frame = self._with_choices(frame)
        if "split" in frame and frame["id"].duplicated().any():
            frame["id"] = frame["split"].fillna("").astype(str) + "-" + frame["id"]
        again = frame.groupby("id").cumcount()
        frame["id"] = frame["id"].where(again == 0, frame["id"] + "#" + again.astype(str))
        return self._with_splits(frame.assign(study=frame["id"]))

    def parts(self) -> dict[Path, str | None]:
        """The tables, each with its split; None where a column of the table says it, or nothing does. Without any, the
        hub's form is read."""
        return find_tables(self.root, self.table)

    def cells(self, path: Path) -> pd.DataFrame:
        """The table of a file."""
        return read_cells(path)

    def separator(self, split: str | None) -> str:
        """What several answers of one cell are separated by in the table of ``split``; "" for none."""
        return ""

    def _part(self, path: Path, split: str | None) -> pd.DataFrame:
        cells, inside = self.cells(path), path.suffix == ".parquet" and holds_images(path)
        if inside:
            where = pd.Series(table_references(path.parent, pd.Series(path.stem, cells.index)), cells.index)
            cells["image"] = where.map(picture_hash)
        frame = question_rows(path, cells, self._given(), self.separator(split), self.drop)
        frame["image"] = (
            one_of_equal(where, cells["image"]).loc[frame.index] if inside else self._located(frame["name"])
        )
        if "id" not in frame:
            frame["id"] = [f"{path.stem}-{row + 1}" for row in frame.index]
        if split is not None:
            frame["split"] = split
        return frame.drop(columns="name")

    def _hub(self) -> pd.DataFrame:
        """The hub's form: equal image bytes are one image."""
        needed = [self.question_column or "question", self.answer_column or "answer"]
        usual = {name for role, names in USUAL.items() if role != "image" for name in names} - {*needed, "split"}
        cells = read_columns(self.root, tuple(needed), tuple(sorted(usual)))
        cells = cells.map(lambda cell: cell.tolist() if isinstance(cell, np.ndarray) else cell)
        where = pd.Series(table_references(self.root, cells["split"]), cells.index)
        cells["image"] = where.map(picture_hash)
        frame = question_rows(self.root, cells, self._given(), self.separator(None), self.drop)
        numbers = cells.groupby("split").cumcount().astype(str)
        return frame.assign(image=one_of_equal(where, cells["image"]), id=cells["split"] + "-" + numbers).drop(
            columns="name"
        )

    def _given(self) -> dict[str, str | Sequence[str] | None]:
        roles = (
            "image",
            "question",
            "answer",
            "answer_type",
            "question_type",
            "choices",
            "split",
            "language",
            "patient",
        )
        given = {role: getattr(self, f"{role}_column") for role in roles}
        return given | {"choices": given["choices"] or self.choices or None}

    def _located(self, names: pd.Series) -> pd.Series:
        folders = [self.root / name for name in self.images]
        found = {name: str(existing_file(folders, name) or folders[0] / name) for name in names.unique()}
        return names.map(found)

    def _of_language(self, frame: pd.DataFrame) -> pd.DataFrame:
        if "language" not in frame:
            raise UserError(f"{self.root}: found no column of languages, expected one for data.language "
                            f"{self.language}; name it with data.language_column")  # fmt: skip
        chosen = frame["language"] == self.language
        if not chosen.any():
            found = ", ".join(
                f"{name} {count:,}" for name, count in frame["language"].value_counts().sort_index().items()
            )
            raise UserError(f"{self.root}: found no question in language {self.language!r} (found {found}); correct "
                            "data.language")  # fmt: skip
        return self.leave_out(frame, ~chosen, "other language").reset_index(drop=True)

    def _with_splits(self, frame: pd.DataFrame) -> pd.DataFrame:
        if not has_splits(frame):
            self.note("no split is given: 80/10/10 by image")
            return frame.assign(split=random_splits(frame["patient"], DRAW_SEED))
        frame["split"] = normalise_splits(frame["split"], frame["id"])
        if (frame["split"] == "val").any() or not (frame["split"] == "train").any():
            return frame
        splits, held, images = hold_out_units(frame["split"], frame["patient"], HELD_OUT, DRAW_SEED)
        self.note(f"no validation split exists: {held} of {images} training images held out for it")
        return frame.assign(split=splits)


def one_of_equal(references: pd.Series, hashes: pd.Series) -> pd.Series:
    """The first of the references whose images are equal, so that an image is stored and checked once."""
    return references.groupby(hashes).transform("first")


def picture_hash(reference: str) -> str:
    """16 letters that are those of every equal image file."""
    return hashlib.sha256(image_source(reference).bytes()).hexdigest()[:16]
