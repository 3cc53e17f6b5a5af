"""CheXpert Plus: CheXpert's images with the reports they come from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from data_modules.base import DataModule
from data_modules.errors import UserError
from data_modules.index.faulty import drop_faulty
from data_modules.index.files import require_folder
from data_modules.index.labels import Blank, Uncertain, join_labels
from data_modules.index.tables import find_table, read_table, row_name
from data_modules.index.words import count_words
from data_modules.text.sections import clean

SOURCE = "it comes with CheXpert Plus (aimi.stanford.edu/datasets/chexpert-plus); set data.root to its folder"
SECTIONS = {
    "findings+impression": ("section_findings", "section_impression"),
    "findings": ("section_findings",),
    "impression": ("section_impression",),
    "whole": ("report",),
}
FOLDERS = ("", "PNG", "PNG/PNG", "images", "DICOM")
ENDINGS = (".png", ".jpg", ".dcm")


class CheXpertPlusDataModule(DataModule):
    """Official splits: ``valid`` (200 patients) is validation, and there is no test split: ``chexpert_500`` is one.

    The table names images ``.jpg`` that are released as ``.png`` or ``.dcm``; they are found by their path without its
    ending, below the root, ``PNG`` or ``images``. A study is a folder of ``path_to_image``.

    Args:
        root: folder of ``df_chexpert_plus_240401.csv``, of the images and of ``chexbert_labels``.
        sections: text of a report; of "findings+impression" one suffices. Few reports have findings.
        views: Frontal, Lateral or both.
        labels: CheXbert's, in the order of ``labels`` columns; [] reads no label file.
        labels_from: the text that CheXbert read: ``report``, ``findings`` or ``impression``.
        uncertain: what -1 becomes.
        blank: what "not mentioned" becomes.

    The other arguments are those of ``DataModule``.
    """

    def __init__(
        self,
        root: str,
        sections: Literal["findings+impression", "findings", "impression", "whole"] = "findings+impression",
        views: Sequence[Literal["Frontal", "Lateral"]] = ("Frontal", "Lateral"),
        labels: Sequence[str] = (),
        labels_from: Literal["report", "findings", "impression"] = "report",
        uncertain: Uncertain = "ignore",
        blank: Blank = "zeros",
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.root, self.sections, self.views = Path(root), sections, list(views)
        self.labels, self.label_names, self.labels_from = list(labels), list(labels), labels_from
        self.uncertain, self.blank = uncertain, blank

    def read_index(self) -> pd.DataFrame:
        require_folder(self.root, "CheXpert Plus")
        path = find_table([self.root], "df_chexpert_plus_240401", SOURCE)
        texts = SECTIONS[self.sections]
        columns = ["path_to_image", "frontal_lateral", "deid_patient_id", "split", *texts]
        table = read_table(path, columns, optional=["patient_report_date_order"])
        names = table["path_to_image"].fillna("")
        sound = names.str.fullmatch(r"(train|valid)/[^/]+/[^/]+/[^/]+") & table["deid_patient_id"].notna()

        def problem(row: int) -> str:
            found = f"{path}: found path_to_image {names.iloc[row]!r} and deid_patient_id"
            return (
                f"{found} {table['deid_patient_id'].iloc[row]!r} in {row_name(path, row)}, expected such as "
                "train/patient00001/study1/view1_frontal.jpg and patient00001; download the table again"
            )

        table = drop_faulty(table, ~sound, problem, "path of another form", self.drop)
        frame = pd.DataFrame({"id": table["path_to_image"], "patient": table["deid_patient_id"]})
        frame["study"] = frame["id"].str.rpartition("/")[0]
        frame["split"], frame["view"] = table["split"], table["frontal_lateral"]
        if "patient_report_date_order" in table:
            frame["date_order"] = table["patient_report_date_order"]
        frame["text"] = table[list(texts)].fillna("").agg(" ".join, axis=1).map(clean)
        frame = self.leave_out(frame, ~frame["view"].isin(self.views), "view")
        words = frame["text"].map(count_words)
        frame = self.leave_out(frame, words == 0, f"report without {self.sections.replace('+', ' or ')}")
        words = words[words > 0]
        frame = self.leave_out(frame, words < self.text.min_tokens, f"text under {self.text.min_tokens} words")
        frame = frame.assign(image=self._located(frame["id"])).reset_index(drop=True)
        return self._with_labels(frame) if self.label_names else frame

    def _with_labels(self, frame: pd.DataFrame) -> pd.DataFrame:
        path = self.root / "chexbert_labels" / f"{self.labels_from}_fixed.json"
        if not path.is_file():
            raise UserError(f"{path}: not found; {SOURCE}, or set data.labels to []")
        policies = (self.uncertain, self.blank)
        return join_labels(frame, frame["id"], (path, "path_to_image"), self.label_names, policies, self.drop)

    def _located(self, names: pd.Series) -> pd.Series:
        """The folder and the ending are those of the first image that is there."""
        places = [(folder, ending) for folder in FOLDERS for ending in ENDINGS]
        stems = names.str.rpartition(".")[0]
        for stem in stems.head(50):
            for folder, ending in places:
                if (self.root / folder / f"{stem}{ending}").is_file():
                    return f"{self.root / folder}/" + stems + ending
        return f"{self.root}/" + stems + ENDINGS[0]
