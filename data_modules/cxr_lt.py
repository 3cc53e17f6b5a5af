"""CXR-LT: labels of many classes, most of them rare, for the images of MIMIC-CXR-JPG."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from data_modules.base import DataModule
from data_modules.errors import UserError
from data_modules.index.faulty import drop_faulty
from data_modules.index.files import require_folder
from data_modules.index.labels import join_labels
from data_modules.index.tables import find_table, missing_column, read_table
from data_modules.mimic_cxr import MIMICCXRDataModule, version_folder

SOURCE = "it comes with CXR-LT 2.0.0 (physionet.org/content/cxr-lt-iccv-workshop-cvamd); set data.root to its folder"
COMMON = (
    "Atelectasis", "Calcification of the Aorta", "Cardiomegaly", "Consolidation", "Edema", "Emphysema",
    "Enlarged Cardiomediastinum", "Fibrosis", "Fracture", "Hernia", "Infiltration", "Lung Lesion", "Lung Opacity",
    "Mass", "Nodule", "Pleural Effusion", "Pleural Other", "Pleural Thickening", "Pneumomediastinum", "Pneumonia",
    "Pneumoperitoneum", "Pneumothorax", "Subcutaneous Emphysema", "Support Devices", "Tortuous Aorta",
)  # fmt: skip
ADDED = (
    "Adenopathy", "Azygos Lobe", "Clavicle Fracture", "Fissure", "Granuloma", "Hydropneumothorax", "Infarction",
    "Kyphosis", "Lobar Atelectasis", "Pulmonary Embolism", "Pulmonary Hypertension", "Rib Fracture",
    "Round(ed) Atelectasis", "Tuberculosis",
)  # fmt: skip
UNSEEN = ("Bulla", "Cardiomyopathy", "Hilum", "Osteopenia", "Scoliosis")
PRUNING = (
    "Atelectasis", "Calcification of the Aorta", "Cardiomegaly", "Consolidation", "Edema",
    "Enlarged Cardiomediastinum", "Fracture", "Lung Lesion", "Lung Opacity", "No Finding", "Pleural Effusion",
    "Pleural Other", "Pneumomediastinum", "Pneumonia", "Pneumoperitoneum", "Pneumothorax", "Subcutaneous Emphysema",
    "Support Devices", "Tortuous Aorta",
)  # fmt: skip
Version = Literal["2024-task1", "2024-task2", "2024-task3", "2024-all", "2023", "2023-pruning"]


@dataclass(frozen=True)
class Tables:
    """What a version reads: its folder, the table of each split (or one with a column ``split``), and its classes."""

    folder: str
    files: dict[str, str]
    classes: tuple[str, ...]


def _of_task(number: int) -> dict[str, str]:
    return {"val": f"development_labeled_task{number}", "test": f"test_labeled_task{number}"}


_PRUNED = "miccai2023_mimic-cxr-lt_labels_"
VERSIONS = {
    "2024-task1": Tables(
        "cxr-lt-2024", {"train": "train_labeled", **_of_task(1)}, tuple(sorted((*COMMON, *ADDED, "Normal")))
    ),
    "2024-task2": Tables("cxr-lt-2024", {"train": "train_labeled", **_of_task(2)}, tuple(sorted((*COMMON, "Normal")))),
    "2024-task3": Tables("cxr-lt-2024", _of_task(3), UNSEEN),
    "2024-all": Tables("cxr-lt-2024", {"": "labels"}, tuple(sorted((*COMMON, *ADDED, *UNSEEN, "Normal")))),
    "2023": Tables(
        "cxr-lt-2023", {"train": "train", "val": "development", "test": "test"}, tuple(sorted((*COMMON, "No Finding")))
    ),
    "2023-pruning": Tables(
        "miccai-2023_mimic-cxr-lt", {split: f"{_PRUNED}{split}" for split in ("train", "val", "test")}, PRUNING
    ),
}


class CXRLTDataModule(DataModule):
    """Official splits. Images, patients and studies are those of MIMIC-CXR-JPG, whose own split is not read.

    The labels were mined from reports; those of the development and test images of ``2024-task2`` were read from
    reports by hand. A class that has no positive in a split is scored nowhere, and not trained (``data.labels``).

    Args:
        root: folder of ``cxr-lt-2023`` and ``cxr-lt-2024``, or one of these.
        image_root: MIMIC-CXR-JPG: ``files/``, the split and metadata tables.
        version: ``2024-task1`` (40 classes), ``2024-task2`` (26, test labels by hand), ``2024-task3`` (the five classes
            that the others do not have, without training images), ``2024-all`` (45, of ``labels.csv``), ``2023`` (26),
            or ``2023-pruning`` (19, of frontal images).
        views: ViewPosition to keep; [] keeps all, as the challenge does.
        labels: classes, in the order of ``labels`` columns; null: all of the version.

    The other arguments are those of ``DataModule``.
    """

    def __init__(
        self,
        root: str,
        image_root: str,
        version: Version = "2024-task1",
        views: Sequence[str] = (),
        labels: Sequence[str] | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.root, self.image_root = version_folder(Path(root)), version_folder(Path(image_root))
        self.version, self.views = version, list(views)
        self.labels = list(VERSIONS[version].classes if labels is None else labels)
        self.label_names = self.labels

    def read_index(self) -> pd.DataFrame:
        frame = self.listed()
        if (twice := frame[frame["id"].duplicated(keep=False)]).empty:
            return frame
        first = twice["id"].iloc[0]
        splits = " and ".join(twice.loc[twice["id"] == first, "split"])
        raise UserError(
            f"{self.tables}: found image {first} in {splits} ({twice['id'].nunique():,} such images), expected every "
            "image in one table once; download the tables again"
        )

    @property
    def tables(self) -> Path:
        """The folder of the version's tables."""
        inner = self.root / VERSIONS[self.version].folder
        return inner if inner.is_dir() else self.root

    def listed(self) -> pd.DataFrame:
        """The index, with an image as often as the tables list it."""
        require_folder(self.root, "CXR-LT")
        require_folder(self.image_root, "MIMIC-CXR-JPG", "data.image_root")
        frame = pd.concat([self._table(*of) for of in VERSIONS[self.version].files.items()], ignore_index=True)
        reader = MIMICCXRDataModule(image_root=str(self.image_root), labels=[])
        known = reader.samples_of([]).set_index("id")[["patient", "study", "image"]]
        frame = frame.join(known, on="id")

        def problem(place: int) -> str:
            return (
                f"{self.tables}: found image {frame['id'].iloc[place]} of {frame['split'].iloc[place]}, which is not "
                f"in the split table of {self.image_root}; use the MIMIC-CXR-JPG that the labels are of"
            )

        frame = drop_faulty(frame, frame["image"].isna(), problem, "image unknown to MIMIC-CXR-JPG", self.drop)
        if self.views:
            wanted = frame["id"].isin(reader.samples_of(self.views)["id"])
            frame = self.leave_out(frame, ~wanted, "view")
        return frame.reset_index(drop=True)

    def _table(self, split: str, name: str) -> pd.DataFrame:
        """Ids, split and labels of one table."""
        path = find_table([self.tables], name, SOURCE)
        table = read_table(path, [] if split else ["split"], optional=["dicom_id", "path"])
        key = next((name for name in ("dicom_id", "path") if name in table), None)
        if key is None:
            raise UserError(missing_column(path, "dicom_id", read_table(path).columns))
        ids = table[key].fillna("").str.rpartition("/")[2].str.removesuffix(".jpg")
        frame = pd.DataFrame({"id": ids, "split": split or table["split"]})
        return join_labels(frame, table[key], (path, key), self.label_names, ("ignore", "ignore"), self.drop)
