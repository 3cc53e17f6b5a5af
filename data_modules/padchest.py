"""PadChest: 160,861 images with Spanish reports and labels, 27 % of them given by physicians."""

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from data_modules.base import DataModule
from data_modules.index.faulty import drop_faulty
from data_modules.index.files import files_below, require_folder
from data_modules.index.tables import find_table, read_table, row_name
from data_modules.index.words import count_words
from data_modules.text.named_sections import NamedSections, extract_named

TABLE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19"
SOURCE = "it comes with PadChest (bimcv.cipf.es/bimcv-projects/padchest); set data.root to its folder"
COMMON = (
    "Cardiomegaly",
    "Pleural Effusion",
    "Consolidation",
    "Atelectasis",
    "Pneumonia",
    "Pneumothorax",
    "Nodule",
    "Mass",
    "Emphysema",
    "Fracture",
    "Hiatal Hernia",
    "Pleural Thickening",
)
UNUSABLE = ("exclude", "suboptimal study")
"""Labels of images that are no sound radiograph of a chest."""
NAMED = {
    "Mass": ("mass", "pulmonary mass"),
    "Nodule": ("nodule", "multiple nodules"),
    "Fracture": ("fracture", "rib fracture", "clavicle fracture", "humeral fracture", "vertebral fracture"),
}
"""Terms of a class, where these are not its name."""


class PadChestDataModule(DataModule):
    """Split 80/10/10 by patient and equal text, as none is published; texts are the Spanish reports, as released.

    Args:
        root: folder of the label table, .csv or .csv.gz, and of the images: in its folders ``0`` … ``54``, or flat.
        labels: classes, in the order of ``labels`` columns: 1 where the list of labels has the term (whatever its
            case), else 0. ``Fracture`` is any of the terms of fractures.
        views: Projection to keep; [] keeps all.
        physician: only images whose labels a physician gave (``MethodLabel``).
        split: ``drawn``, or ``test``: every image tests.
        reports: read the reports; without them, only images and labels.
        sections: text of a report, by the Spanish headings of ``text/languages/es.yaml``; of "findings+impression" one
            suffices.

    The other arguments are those of ``DataModule``.
    """

    def __init__(
        self,
        root: str,
        labels: Sequence[str] = COMMON,
        views: Sequence[str] = ("PA", "AP", "AP_horizontal"),
        physician: bool = False,
        split: Literal["drawn", "test"] = "drawn",
        reports: bool = True,
        sections: NamedSections = "whole",
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.root, self.views, self.physician, self.split = Path(root), list(views), physician, split
        self.labels, self.label_names, self.reports = list(labels), list(labels), reports
        self.sections = sections

    def read_index(self) -> pd.DataFrame:
        require_folder(self.root, "PadChest")
        path = find_table([self.root], TABLE, SOURCE)
        texts = ["Report"] * self.reports
        columns = ["ImageID", "StudyID", "PatientID", "Projection", "Labels", "MethodLabel", *texts]
        table = read_table(path, columns, optional=["ImageDir"])
        if self.views:
            table = self.leave_out(table, ~table["Projection"].isin(self.views), "view")
        if self.physician:
            table = self.leave_out(table, table["MethodLabel"] != "Physician", "labels not given by a physician")
        table = self.leave_out(table, table["Labels"].isna(), "no labels")
        terms = table["Labels"].map(terms_of)

        def problem(place: int) -> str:
            row = row_name(path, int(table.index[place]))
            found = f"{path}: found Labels {table['Labels'].iloc[place]!r} in {row}"
            return f"{found}, expected a list of texts; download the table again"

        table = drop_faulty(table, terms.isna(), problem, "labels that are no list", self.drop)
        terms = terms.loc[table.index]
        unusable = terms.map(lambda own: bool(own & {*UNUSABLE}))
        table = self.leave_out(table, unusable, "labelled exclude or suboptimal study")
        table = self.leave_out(table, table["PatientID"].isna() | table["ImageID"].isna(), "no patient or image")
        terms = terms.loc[table.index]
        frame = pd.DataFrame({"id": table["ImageID"], "patient": table["PatientID"]})
        frame["study"] = table["StudyID"].fillna(frame["id"])
        frame = frame.assign(image=self._located(table), **{n: self._class(n, terms) for n in self.label_names})
        if self.reports:
            reports = table["Report"].fillna("").map(lambda report: extract_named(report, self.sections, "es"))
            told = table["Report"].notna() & reports.isna()
            frame = self.leave_out(frame, told, f"report without {self.sections.replace('+', ' or ')}")
            frame["text"] = reports[~told].fillna("")
            words = frame["text"].map(count_words)
            frame = self.leave_out(frame, words < max(self.text.min_tokens, 1), "no report")
        if self.split == "test":
            frame["split"] = "test"
        return frame.reset_index(drop=True)

    def _class(self, name: str, terms: pd.Series) -> pd.Series:
        named = {*NAMED.get(name, (name.lower().replace("_", " "),))}
        return terms.map(lambda own: float(bool(own & named))).astype("float32")

    def _located(self, table: pd.DataFrame) -> pd.Series:
        found = {file.name: str(file) for file in files_below(self.root, [".png", ".jpg"])}
        return table["ImageID"].map(lambda name: found.get(name, str(self.root / name)))


def terms_of(cell: str) -> frozenset[str] | None:
    """The labels of a cell such as ``"['pleural effusion ', '', 'loc left']"``, without blanks; None for no list."""
    try:
        listed = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        return None
    return frozenset(term for item in listed if (term := " ".join(item.lower().split())))
