"""PadChest-GR: sentences of 4,555 reports with the boxes of what they name; one sample a sentence."""

from pathlib import Path
from typing import Any, Literal

import pandas as pd

from data_modules.base import DataModule
from data_modules.boundary import read_json
from data_modules.errors import UserError
from data_modules.index.faulty import drop_faulty
from data_modules.index.files import files_below, require_folder
from data_modules.index.tables import find_table, read_table
from data_modules.text.sections import clean

SOURCE = "it comes with PadChest-GR (bimcv.cipf.es/bimcv-projects/padchest-gr); set data.root to its folder"
UNNAMED = "finding"
"""Class of a box whose sentence has no label."""


class PadChestGRDataModule(DataModule):
    """Official splits, by patient, of ``master_table.csv``. Sentences without a box, all normal ones among them, are
    left out and counted. Boxes are shares of width and height.

    Args:
        root: folder of ``grounded_reports_20240819.json`` (or a later one), ``master_table.csv`` and the images.
        language: of the sentences.

    The other arguments are those of ``DataModule``.
    """

    def __init__(self, root: str, language: Literal["en", "es"] = "en", **common: Any) -> None:
        super().__init__(**common)
        self.root, self.language = Path(root), language

    def read_index(self) -> pd.DataFrame:
        require_folder(self.root, "PadChest-GR")
        path = next(iter(sorted(self.root.glob("grounded_reports_*.json"), reverse=True)), None)
        if path is None:
            raise UserError(f"{self.root}: found no grounded_reports_*.json; {SOURCE}")
        content = read_json(path, "a list of studies")
        if not isinstance(content, list) or not all(
            isinstance(study, dict) and "StudyID" in study for study in content
        ):
            raise UserError(f"{path}: expected a list of objects with StudyID, ImageID and findings; download it again")
        sentences = [
            {
                "study": study["StudyID"],
                "name": str(study.get("ImageID") or ""),
                "number": number,
                "text": clean(str(finding.get(f"sentence_{self.language}") or "")),
                "boxes": finding.get("boxes") or [],
                "label": next(iter(finding.get("labels") or []), UNNAMED),
            }
            for study in content
            for number, finding in enumerate(study.get("findings") or [])
        ]
        frame = pd.DataFrame(sentences, columns=["study", "name", "number", "text", "boxes", "label"])
        frame = self.leave_out(frame, frame["boxes"].map(len) == 0, "sentence without a box")
        frame = self.leave_out(frame, frame["text"] == "", "box without a sentence")

        def problem(place: int) -> str:
            row = frame.iloc[place]
            return (
                f"{path}: study {row['study']} has boxes {row['boxes']}, expected x1, y1, x2, y2 as shares, 0 to 1, of "
                "width and height; download it again"
            )

        odd = ~frame["boxes"].map(lambda boxes: all(map(_is_box, boxes)))
        frame = drop_faulty(frame, odd, problem, "box outside its image", self.drop).reset_index(drop=True)
        self.box_classes = sorted(frame["label"].unique())
        frame["box_labels"] = [[self.box_classes.index(label)] * len(boxes)
                               for label, boxes in zip(frame["label"], frame["boxes"], strict=True)]  # fmt: skip
        frame["box_frame"] = [[1.0, 1.0]] * len(frame)
        files = {file.name: str(file) for file in files_below(self.root, [".png", ".jpg"])}
        frame["image"] = frame["name"].map(lambda name: files.get(name, str(self.root / name)))
        frame["id"] = frame["study"] + "/" + frame["number"].astype(str)
        return self._with_splits(frame.drop(columns=["name", "number", "label"]))

    def _with_splits(self, frame: pd.DataFrame) -> pd.DataFrame:
        table = read_table(find_table([self.root], "master_table", SOURCE), ["StudyID", "PatientID", "split"])
        own = table.drop_duplicates("StudyID").set_index("StudyID")
        frame = frame.assign(patient=frame["study"].map(own["PatientID"]), split=frame["study"].map(own["split"]))
        return self.leave_out(frame, frame["split"].isna(), "study not in master_table").reset_index(drop=True)


def _is_box(box: Any) -> bool:
    """x1 < x2 and y1 < y2 within 0 and 1."""
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(side, int | float) for side in box):
        return False
    x1, y1, x2, y2 = box
    return 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1
