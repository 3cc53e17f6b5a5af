"""Open-i (Indiana University chest X-rays): reports with their frontal and lateral images, in three published forms."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from data_modules.base import DataModule
from data_modules.errors import UserError
from data_modules.index.files import require_folder
from data_modules.index.labels import OPENI
from data_modules.index.words import count_words
from data_modules.text.openi_tables import (
    ANNOTATION,
    ARCHIVE,
    REPORTS,
    UNKNOWN,
    locate,
    r2gen_splits,
    read_archive,
    read_kaggle,
    read_r2gen,
)
from data_modules.text.sections import clean

WORDS = {
    "Lung Lesion": ["lesion"],
    "Lung Opacity": ["opacity"],
    "Atelectasis": ["atelectasis", "atelectases"],
    "Infiltration": ["infiltration", "infiltrate"],
    "Pleural_Thickening": ["pleural thickening"],
}
"""What a MeSH term of a class contains, where that is not the name of the class."""


class OpenIDataModule(DataModule):
    """An image a sample; images of one report are one study. The set names no patients: a study is one.

    The first form that is there is read: ``NLMCXR_reports.tgz`` (views from ``nlmcxr_dicom_metadata.csv.gz`` or
    ``indiana_projections.csv``, where there is one); Kaggle's ``indiana_reports.csv`` and ``indiana_projections.csv``;
    R2Gen's ``annotation.json``, which has findings only. Images lie anywhere below the root, named as in either form.

    Args:
        root: folder of the reports and the images.
        split: ``drawn``: by study and equal text; ``r2gen``: that of ``annotation.json``, studies it does not list are
            left out; ``test``: every image tests. By default that of R2Gen's form, drawn in the others.
        sections: text of a report; of "findings+impression" one suffices.
        views: images to keep; ``unknown`` where no table says the view.
        labels: of the 18 classes that torchxrayvision takes from the MeSH terms of the archive: 1 where a term
            contains the name, else 0. The other forms have none.

    The other arguments are those of ``DataModule``.
    """

    def __init__(
        self,
        root: str,
        split: Literal["drawn", "r2gen", "test"] | None = None,
        sections: Literal["findings+impression", "findings", "impression"] = "findings+impression",
        views: Sequence[Literal["Frontal", "Lateral", "unknown"]] = ("Frontal", "Lateral", "unknown"),
        labels: Sequence[str] = (),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.root, self.split, self.sections, self.views = Path(root), split, sections, list(views)
        self.labels, self.label_names = list(labels), list(labels)
        if unknown := [name for name in labels if name not in OPENI]:
            raise UserError(f"data.labels names {unknown[0]!r}, expected some of {', '.join(OPENI)}")

    def read_index(self) -> pd.DataFrame:
        require_folder(self.root, "Open-i")
        frame = self._form()
        if set(frame["view"]) == {UNKNOWN} and UNKNOWN not in self.views:
            raise UserError(
                f"{self.root}: found no table of views, which data.views {', '.join(self.views)} needs; put "
                "nlmcxr_dicom_metadata.csv.gz (github.com/mlmed/torchxrayvision) or indiana_projections.csv there"
            )
        frame = self.leave_out(frame, ~frame["view"].isin(self.views), "view").reset_index(drop=True)
        frame = frame.assign(patient=frame["study"], image=locate(self.root, frame)).join(self._labels(frame))
        frame = self._with_texts(frame)
        wanted = self.split or ("r2gen" if "split" in frame else "drawn")
        if wanted == "drawn":
            return frame.drop(columns="split", errors="ignore")
        if wanted == "test":
            return frame.assign(split="test")
        if "split" not in frame:
            frame = frame.assign(split=frame["study"].map(r2gen_splits(self.root)))
        return self.leave_out(frame, frame["split"].isna(), "study not in R2Gen's split").reset_index(drop=True)

    def _form(self) -> pd.DataFrame:
        forms = {ARCHIVE: read_archive, REPORTS: read_kaggle, ANNOTATION: read_r2gen}
        name = next((name for name in forms if (self.root / name).is_file()), None)
        if name is None:
            raise UserError(
                f"{self.root}: found no reports, expected {', '.join(forms)}; openi.nlm.nih.gov/faq has the archive "
                "and NLMCXR_png.tgz"
            )
        if name == ANNOTATION and self.sections == "impression":
            raise UserError(f"{self.root / name}: holds findings only; set data.sections to findings")
        return forms[name](self.root)

    def _labels(self, frame: pd.DataFrame) -> pd.DataFrame:
        if self.label_names and "terms" not in frame:
            raise UserError(f"{self.root}: found no {ARCHIVE}, expected it for data.labels, which are its MeSH terms")
        found = {
            name: frame["terms"].str.contains("|".join(map(re.escape, WORDS.get(name, [name.lower()]))))
            for name in self.label_names
        }
        return pd.DataFrame(found, index=frame.index).astype("float32")

    def _with_texts(self, frame: pd.DataFrame) -> pd.DataFrame:
        parts = self.sections.split("+")
        texts = frame[parts].agg(" ".join, axis=1).map(clean)
        frame = frame.drop(columns=["findings", "impression", "terms"], errors="ignore").assign(text=texts)
        words = frame["text"].map(count_words)
        reason = f"report without {' or '.join(parts)}"
        frame = self.leave_out(frame, words == 0, reason)
        words = words[words > 0]
        return self.leave_out(frame, words < self.text.min_tokens, f"text under {self.text.min_tokens} words")
