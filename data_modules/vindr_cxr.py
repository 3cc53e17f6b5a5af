"""VinDr-CXR: 18,000 frontal images; three readers drew boxes in each training image, five agreed on each test image."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from data_modules.base import DataModule
from data_modules.errors import UserError
from data_modules.index.draws import hold_out, stratified_splits
from data_modules.index.faulty import drop_faulty
from data_modules.index.files import require_folder
from data_modules.index.readers import fuse_boxes
from data_modules.index.tables import find_table, read_table, row_name

SOURCE = "it comes with VinDr-CXR (physionet.org/content/vindr-cxr); set data.root to its folder"
KAGGLE = "train.csv"
NORMAL = "No finding"
CLASSES = (
    "Aortic enlargement",
    "Atelectasis",
    "Calcification",
    "Cardiomegaly",
    "Consolidation",
    "ILD",
    "Infiltration",
    "Lung Opacity",
    "Nodule/Mass",
    "Other lesion",
    "Pleural effusion",
    "Pleural thickening",
    "Pneumothorax",
    "Pulmonary fibrosis",
)
"""The 14 of the Kaggle competition."""
SIDES = ["x_min", "y_min", "x_max", "y_max"]
READERS = {"majority": 2, "any": 1}
"""Readers, of three, that must agree."""
HELD_OUT = 0.2
"""Share of the training images that validates: BenchX has 12,000 and 3,000."""


class VinDrCXRDataModule(DataModule):
    """PhysioNet's form (``annotations/``, ``train/``, ``test/``) or Kaggle's ``train.csv``, which is split 70/10/20.

    Readers of one image are fused: a label is positive where ``readers`` say so; boxes of one class that overlap with
    an IoU of 0.4 become their mean, kept where as many readers drew one. Test annotations are a consensus already. The
    set names no patients: an image is one, so that a patient may be in two splits.

    Args:
        root: folder of the tables and images (``<image_id>.dicom``, or as PNG or JPEG in the original size).
        labels: classes of ``labels`` columns and of boxes.
        readers: ``majority``: two of three; ``any``: one suffices, as in cxr-clip.

    The other arguments are those of ``DataModule``.
    """

    def __init__(
        self,
        root: str,
        labels: Sequence[str] = CLASSES,
        readers: Literal["majority", "any"] = "majority",
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.root, self.readers = Path(root), readers
        self.labels, self.label_names, self.box_classes = list(labels), list(labels), list(labels)

    def read_index(self) -> pd.DataFrame:
        require_folder(self.root, "VinDr-CXR")
        if (self.root / KAGGLE).is_file():
            frame = self._images(self.root / KAGGLE, "train", READERS[self.readers])
            known = frame[self.label_names]
            return frame.assign(split=stratified_splits(frame["patient"], known, (0.7, 0.1, 0.2), self.seed))
        folder = self.root / "annotations"
        parts = [
            self._images(find_table([folder], f"annotations_{split}", SOURCE), split, agreeing).assign(split=split)
            for split, agreeing in (("train", READERS[self.readers]), ("test", 1))
        ]
        frame = pd.concat(parts, ignore_index=True)
        return hold_out(frame, frame[self.label_names], HELD_OUT, self.seed)

    def _images(self, path: Path, split: str, agreeing: int) -> pd.DataFrame:
        """A row an image, with the labels and boxes on which ``agreeing`` readers agree."""
        table = self._sound(path)
        seen = table.drop_duplicates(["image_id", "rad_id", "class_name"])
        votes = seen.groupby(["image_id", "class_name"]).size().unstack(fill_value=0)
        if unknown := [name for name in self.label_names if name not in votes and name not in CLASSES]:
            raise UserError(f"{path}: found no {unknown[0]!r} among {', '.join(votes.columns)}; correct data.labels")
        frame = pd.DataFrame({"id": votes.index, "patient": votes.index, "study": votes.index})
        for name in self.label_names:
            frame[name] = (votes[name].to_numpy() >= agreeing).astype("float32") if name in votes else 0.0
        drawn = table[table["class_name"].isin(self.box_classes)]
        boxes = drawn.rename(columns={"image_id": "image", "class_name": "label", "rad_id": "reader"})
        boxes = boxes.assign(
            **dict(zip(("x1", "y1", "x2", "y2"), boxes[SIDES].astype(float).to_numpy().T, strict=True))
        )
        fused = fuse_boxes(boxes, agreeing).groupby("image")
        kept: dict[str, pd.DataFrame] = dict(iter(fused))  # type: ignore[arg-type]
        none = pd.DataFrame(columns=["label", "x1", "y1", "x2", "y2"])
        of_image = [kept.get(name, none) for name in frame["id"]]
        corners = [own[["x1", "y1", "x2", "y2"]].to_numpy(float).tolist() for own in of_image]
        frame["boxes"] = pd.Series(corners, frame.index, dtype=object)
        frame["box_labels"] = [[self.box_classes.index(label) for label in own["label"]] for own in of_image]
        return frame.assign(image=self._located(split, frame["id"]))

    def _sound(self, path: Path) -> pd.DataFrame:
        table = read_table(path, ["image_id", "class_name", *SIDES], optional=["rad_id"])
        table = table.assign(rad_id=table.get("rad_id", "consensus"))
        numbers = table[SIDES].apply(pd.to_numeric, errors="coerce")
        blank, normal = table[SIDES].isna().all(axis=1), table["class_name"] == NORMAL
        area = (numbers["x_max"] > numbers["x_min"]) & (numbers["y_max"] > numbers["y_min"])
        odd = table[["image_id", "class_name", "rad_id"]].isna().any(axis=1) | ~(area | (blank & normal))

        def problem(row: int) -> str:
            found = ", ".join(
                str(value) for value in table[["image_id", "class_name", *SIDES]].iloc[row].fillna("blank")
            )
            return (
                f"{path}: found {found} in {row_name(path, row)}, expected an image, a class and x_min < x_max, y_min "
                f"< y_max, or {NORMAL} and blanks; download the table again"
            )

        return drop_faulty(table, odd, problem, "odd row", self.drop)

    def _located(self, split: str, names: pd.Series) -> pd.Series:
        endings = (".dicom", ".dcm", ".png", ".jpg")
        folder = self.root / split
        ending = next((e for name in names.head(50) for e in endings if (folder / f"{name}{e}").is_file()), endings[0])
        return f"{folder}/" + names + ending
