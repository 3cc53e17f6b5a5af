"""MS-CXR-T: how findings changed between two studies of a patient of MIMIC-CXR; one sample a pair of images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from data_modules.base import DataModule
from data_modules.errors import UserError
from data_modules.images.missing import images_present
from data_modules.index.faulty import drop_faulty
from data_modules.index.tables import find_table, missing_column, read_table, row_name

TABLE, SPLIT_TABLE = "MS_CXR_T_temporal_image_classification_v1.0.0", "mimic-cxr-2.0.0-split"
SOURCE = "it comes with MS-CXR-T (physionet.org/content/ms-cxr-t); set data.root to its folder"
STATES = ("improving", "stable", "worsening")
FINDINGS = ("Consolidation", "Edema", "Pleural Effusion", "Pneumonia", "Pneumothorax")
KEYS = ["dicom_id", "subject_id", "study_id", "previous_dicom_id", "previous_study_id"]


class MSCXRTDataModule(DataModule):
    """Labels are one of improving, stable and worsening for each finding, one column each: ``Edema improving``; all
    three are unknown where the pair has no label of the finding.

    Args:
        root: folder of ``MS_CXR_T_temporal_image_classification_v1.0.0.csv``.
        image_root: MIMIC-CXR-JPG, full size or smaller; .png where there is no .jpg.
        views: ``with_prior``: a sample is the image and the previous one; ``one``: the image alone, by which a model
            that only guesses from the present is told apart.
        split: ``drawn`` by patient and ``data.seed``; ``mimic_cxr``: that of the patient in MIMIC-CXR, so that patients
            of a pre-training do not test; ``test``: every pair is a test sample.
        labels: findings.

    The other arguments are those of ``DataModule``.
    """

    def __init__(
        self,
        root: str,
        image_root: str,
        views: Literal["one", "with_prior"] = "with_prior",
        split: Literal["drawn", "mimic_cxr", "test"] = "drawn",
        labels: Sequence[str] = FINDINGS,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.root, self.image_root = Path(root), Path(image_root)
        self.views, self.split, self.labels = views, split, list(labels)
        self.label_names = [f"{finding} {state}" for finding in labels for state in STATES]

    def read_index(self) -> pd.DataFrame:
        for folder, name in ((self.root, "root"), (self.image_root, "image_root")):
            if not folder.is_dir():
                raise UserError(f"{folder}: folder not found; set data.{name}")
        path = find_table([self.root], TABLE, SOURCE)
        table = read_table(path)
        columns = [f"{finding.lower().replace(' ', '_')}_progression" for finding in self.labels]
        for name in (*KEYS, *columns):
            if name not in table:
                raise UserError(missing_column(path, name, table.columns.tolist()))
        states = table[columns].apply(lambda column: column.astype("str").str.lower()).set_axis(self.labels, axis=1)
        odd = (states.notna() & ~states.isin(STATES)).any(axis=1)
        now, before = (table[name].map(_place, na_action="ignore") for name in ("dicom_id", "previous_dicom_id"))
        strange = now.isna() | before.isna() | (_part(now, 1) != _part(before, 1))

        def problem(row: int) -> str:
            where = f"{path}: {row_name(path, row)}"
            if strange.iloc[row]:
                cells = (table[name].iloc[row] for name in ("dicom_id", "previous_dicom_id"))
                found = " and ".join("nothing" if pd.isna(cell) else str(cell) for cell in cells)
                return f"{where}: found images {found}, expected two p10/p10000032/s50414267/<dicom_id> of one patient"
            return f"{where}: found {states.iloc[row].dropna().tolist()}, expected {', '.join(STATES)} or blank"

        frame = pd.DataFrame(
            {
                "id": _part(now, -1).astype("str") + "/" + _part(before, -1).astype("str"),
                "patient": table["subject_id"],
                "study": table["study_id"],
                "image": now,
                "prior": before,
                "prior_id": _part(before, -1),
            }
        ).join(self._one_hot(states))
        frame = drop_faulty(frame, odd | strange, problem, "row that cannot be read", self.drop)
        frame = self.leave_out(frame, frame[self.label_names].isna().all(axis=1), "pair without a label")
        self._note_disagreement(table)
        frame = self._with_files(frame.reset_index(drop=True))
        if self.views == "one":
            frame = frame.drop(columns=["prior", "prior_id"])
        return self._with_split(frame)

    def _one_hot(self, states: pd.DataFrame) -> pd.DataFrame:
        known = {
            f"{finding} {state}": (states[finding] == state).where(states[finding].notna(), np.nan).astype("float32")
            for finding in self.labels
            for state in STATES
        }
        return pd.DataFrame(known)

    def _note_disagreement(self, table: pd.DataFrame) -> None:
        names = [f"{finding.lower().replace(' ', '_')}_label_quality" for finding in self.labels]
        count = sum(int((table[name].str.lower() == "disagreement").sum()) for name in names if name in table)
        if count:
            self.note(f"{count:,} labels are of experts who disagreed, and are read as they are")

    def _with_files(self, frame: pd.DataFrame) -> pd.DataFrame:
        for name in ("image", "prior"):
            stems = f"{self.image_root}/files/" + frame[name]
            jpg = images_present(stems + ".jpg")
            png = np.zeros(len(stems), bool)
            png[~jpg] = images_present(stems[~jpg] + ".png")
            frame[name] = stems + np.where(png, ".png", ".jpg")
        return frame

    def _with_split(self, frame: pd.DataFrame) -> pd.DataFrame:
        if self.split == "drawn":
            return frame
        if self.split == "test":
            return frame.assign(split="test")
        splits = read_table(find_table([self.image_root], SPLIT_TABLE, SOURCE), ["subject_id", "split"])
        named = splits.drop_duplicates("subject_id").set_index("subject_id")["split"]
        frame["split"] = frame["patient"].map(named)
        return self.leave_out(frame, frame["split"].isna(), f"patient not in {SPLIT_TABLE}").reset_index(drop=True)


def _part(places: pd.Series, number: int) -> pd.Series:
    """The folder or the name of that number in what :func:`_place` gave; NA where it gave nothing."""
    return places.map(lambda place: place.split("/")[number], na_action="ignore")


def _place(name: str) -> str | None:
    """p10/p10000032/s50414267/<dicom_id> of an image's name; None for another form."""
    parts = name.removeprefix("files/").removesuffix(".jpg").removesuffix(".dcm").split("/")
    fits = len(parts) == 4 and all(part.startswith(letter) for part, letter in zip(parts, "pps", strict=False))
    return "/".join(parts) if fits else None
