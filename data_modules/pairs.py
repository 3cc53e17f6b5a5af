"""Anyone's own image-text pairs: one table (JSON lines, CSV, Parquet) beside a folder of images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from data_modules.base import DataModule
from data_modules.errors import UserError
from data_modules.images.source import row_references
from data_modules.index.hub_folder import local_folder
from data_modules.index.labels import Uncertain, refuse_taken
from data_modules.index.pair_tables import (
    IMAGE,
    TEXT,
    column_of_numbers,
    describe_samples,
    find_column,
    has_inside,
    holds_lists,
    label_columns_to_numbers,
    locate_images,
    read_pairs,
)
from data_modules.index.words import count_words
from data_modules.text.languages import headings
from data_modules.text.named_sections import NamedSections, extract_named

TARGET = "target"


class PairsDataModule(DataModule):
    """Images with a text each; splits, patients, groups and labels where the table has them.

    The root may be a name on the hub, ``hf://datasets/<owner>/<name>``: it is then downloaded to the user's cache. Data
    in the hub's form (Parquet shards by split, or what ``datasets`` saved) have their images inside, in a column
    ``image``.

    A table may name its columns otherwise, separate them by commas, semicolons or tabs, and list several images or
    several sentences in a cell (JSON, Parquet): an image is a sample, sentences are one text. In Parquet the images may
    be inside, in a column ``image`` of bytes or of the hub's structs. R2Gen's
    ``annotation.json`` is such a table. Where the task reads no texts, or with ``label_columns``, ``target_column`` or
    ``images_only``, the table needs none.

    Args:
        root: folder of the table, or a name on the hub; image paths are relative to it, or to its ``images`` folder.
        table: file name; default: the first of pairs.jsonl, pairs.csv, pairs.parquet, metadata.csv, metadata.jsonl,
            annotation.json.
        image_column, text_column: default: the first usual name there is.
        split_column: without one, 80/10/10 by patient, group and equal text, stratified by the labels there are.
        patient_column: without one every group is a patient.
        group_column: rows of one group are one study: never negatives of each other, never in two drawn splits.
        label_columns: columns of 1, 0 and blank (unknown), or such columns by class, ``{Tuberculosis: tb}``; or one
            column of names, which becomes a class a name: a row has exactly one of these classes; or, in JSON and
            Parquet, one column of lists of names, of which a row has any number.
        uncertain: what -1 in ``label_columns`` becomes, as in CheXpert's tables; without it -1 is an error.
        target_column: column of a number a sample, blank where unknown, for tasks that predict one; in a batch it is
            ``target``, float32 (B,), NaN where blank.
        sections: of texts that are whole reports, what is read, by the headings of ``language``; of
            "findings+impression" one suffices.
        language: table of headings, ``en`` or ``es``: a file of ``data_modules/text/languages``.
        images_only: read no texts, and need none: for pre-training by image reconstruction alone, as in
            ``ablations/mae.yaml``.

    A licence column stays in ``index``. The other arguments are those of ``DataModule``.
    """

    def __init__(
        self,
        root: str,
        table: str | None = None,
        image_column: str | None = None,
        text_column: str | None = None,
        split_column: str | None = None,
        patient_column: str | None = None,
        group_column: str | None = None,
        label_columns: dict[str, str] | Sequence[str] = (),
        uncertain: Uncertain | None = None,
        target_column: str | None = None,
        images_only: bool = False,
        sections: NamedSections = "whole",
        language: str = "en",
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self._root, self.table = root, table
        self.image_column, self.text_column, self.split_column = image_column, text_column, split_column
        self.patient_column, self.group_column = patient_column, group_column
        named = isinstance(label_columns, Mapping)
        self.label_columns = dict(label_columns) if named else list(label_columns)  # type: ignore[arg-type]
        self.uncertain, self.target_column, self.images_only = uncertain, target_column, images_only
        self.sections, self.language = sections, language
        headings(language)
        if images_only and text_column is not None:
            raise UserError(f"found data.images_only with data.text_column {text_column}; leave one of them out")
        if target_column is not None:
            self.passed_on = {TARGET: "float"}

    @property
    def root(self) -> Path:
        """The folder, which a name on the hub is downloaded to."""
        return local_folder(self._root)

    def read_index(self) -> pd.DataFrame:
        labelled = list(self.label_columns.values() if isinstance(self.label_columns, dict) else self.label_columns)
        path, table = read_pairs(self.root, self.table, self.image_column, labelled)
        image = find_column(path, table, "image", self.image_column, IMAGE)
        text = None if self.images_only else find_column(path, table, "text", self.text_column, TEXT)
        needless = self.label_columns or self.target_column is not None or self.images_only
        needed = not needless and (self.reads_text or self.trainer is None)  # a misspelt name shows without a task too
        if image is None or (text is None and needed):
            raise UserError(
                f"{path}: found columns {', '.join(table.columns)}, expected one of {', '.join(IMAGE)} and one of "
                f"{', '.join(TEXT)}; name them with data.image_column and data.text_column, or set data.images_only"
            )
        labels = self._labels(path, table)
        targets = None if self.target_column is None else column_of_numbers(path, table, self.target_column)
        table = self.leave_out(table, table[image].isna(), "no image")
        given = {"group": self.group_column, "patient": self.patient_column, "split": self.split_column}
        frame = describe_samples(path, table, image, given)
        frame["image"] = (
            row_references(path, table[image]) if has_inside(path) else locate_images(self.root, table[image])
        )
        self.label_names = labels.columns.tolist()
        named = len(self.label_columns) == 1 and self.label_names != list(self.label_columns)
        self.exclusive_classes = named and not holds_lists(table[labelled[0]])
        refuse_taken(path, self.label_names, self.passed_on)
        frame = frame.join(labels)
        if targets is not None:
            frame[TARGET] = targets
        return frame if text is None else self._with_texts(frame, table[text])

    def _labels(self, path: Path, table: pd.DataFrame) -> pd.DataFrame:
        """float32 columns by class."""
        if isinstance(self.label_columns, list):
            return label_columns_to_numbers(path, table, self.label_columns, self.uncertain)
        columns = list(self.label_columns.values())
        if len(set(columns)) < len(columns):
            raise UserError(f"found a column of data.label_columns twice ({', '.join(columns)}); give each one class")
        found = label_columns_to_numbers(path, table, columns, self.uncertain)
        if found.columns.tolist() != columns:
            raise UserError(
                f"{path}: found names in column {columns[0]}, expected 1, 0 or blank, as data.label_columns gives its "
                f"class; set data.label_columns to [{columns[0]}], which makes a class of every name"
            )
        return found.set_axis(list(self.label_columns), axis=1)

    def _with_texts(self, frame: pd.DataFrame, texts: pd.Series) -> pd.DataFrame:
        extracted = texts.fillna("").map(lambda text: extract_named(text, self.sections, self.language))
        frame["text"] = extracted.fillna("")
        told = texts.notna() & extracted.isna()
        frame = self.leave_out(frame, told, f"report without {self.sections.replace('+', ' or ')}")
        words = frame["text"].map(count_words)
        frame = self.leave_out(frame, words == 0, "no text")
        words = words[words > 0]
        return self.leave_out(frame, words < self.text.min_tokens, f"text under {self.text.min_tokens} words")
