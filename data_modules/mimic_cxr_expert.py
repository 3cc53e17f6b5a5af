"""MIMIC-CXR-JPG 2.1.0's test labels: 687 studies whose reports one radiologist labelled by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from data_modules.base import DataModule
from data_modules.index.files import require_folder
from data_modules.index.labels import CHEXPERT, Blank, Uncertain, join_labels
from data_modules.index.tables import find_table, read_table
from data_modules.mimic_cxr import MIMICCXRDataModule, version_folder

LABELS = "mimic-cxr-2.1.0-test-set-labeled"
SOURCE = "it comes with release 2.1.0 of MIMIC-CXR-JPG (physionet.org/content/mimic-cxr-jpg); complete the download"


class MIMICCXRExpertDataModule(DataModule):
    """Test split only: every image of the labelled studies. The labels were read from reports, not from images.

    Args:
        root: MIMIC-CXR-JPG 2.1.0: ``files/``, the split and metadata tables, and the labelled test set.
        views: ViewPosition to keep; [] keeps all.
        labels: names, in the order of ``labels`` columns; the table's Airspace Opacity is Lung Opacity.
        uncertain: what -1 becomes.
        blank: what "not mentioned" becomes.

    The other arguments are those of ``DataModule``.
    """

    def __init__(
        self,
        root: str,
        views: Sequence[str] = ("PA", "AP"),
        labels: Sequence[str] = CHEXPERT,
        uncertain: Uncertain = "ignore",
        blank: Blank = "zeros",
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.root, self.views = version_folder(Path(root)), list(views)
        self.labels, self.label_names = list(labels), list(labels)
        self.uncertain, self.blank = uncertain, blank

    def read_index(self) -> pd.DataFrame:
        require_folder(self.root, "MIMIC-CXR-JPG")
        path = find_table([self.root], LABELS, SOURCE)
        whole = MIMICCXRDataModule(image_root=str(self.root), labels=[]).samples_of([])
        studies = read_table(path, ["study_id"])["study_id"]
        if absent := sorted(set(studies.dropna()) - set(whole["study"])):
            self.note(f"{len(absent):,} labelled studies are not in the split table (first: {absent[0]})")
        listed = whole[whole["study"].isin(studies)]
        elsewhere = listed["split"] != "test"
        listed = self.leave_out(listed, elsewhere, "labelled study outside the official test split")
        reader = MIMICCXRDataModule(image_root=str(self.root), labels=[])
        wanted = listed["id"].isin(reader.samples_of(self.views)["id"]) if self.views else listed["id"].notna()
        frame = self.leave_out(listed, ~wanted, "view").reset_index(drop=True)
        policies = (self.uncertain, self.blank)
        return join_labels(frame, frame["study"], (path, "study_id"), self.label_names, policies, self.drop)
