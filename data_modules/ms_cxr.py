"""MS-CXR: phrases of MIMIC-CXR reports with the boxes that they describe; one sample a phrase."""

from pathlib import Path
from typing import Any, Literal

import pandas as pd

from data_modules.base import DataModule
from data_modules.errors import UserError
from data_modules.index.coco import read_coco
from data_modules.index.faulty import drop_faulty
from data_modules.index.tables import find_table, read_table

SPLIT_TABLE = "mimic-cxr-2.0.0-split"
SOURCE = "it comes with MS-CXR (physionet.org/content/ms-cxr); set data.root to its folder"


class MSCXRDataModule(DataModule):
    """Nothing is trained, and a model pre-trained on these patients is not held out.

    How many of the patients are in MIMIC-CXR's training split is noted below the summary line; ``data.exclude`` of the
    pre-training leaves them out.

    Args:
        root: folder of ``MS_CXR_Local_Alignment_v1.0.0.json`` (or a later version; any one ``MS_CXR*.json``).
        image_root: MIMIC-CXR-JPG, full size or smaller; boxes are scaled to the images there are.
        split: ``test``: every phrase is a test sample. ``mimic_cxr``: phrases have the split of their patient in
            MIMIC-CXR, so that only held-out patients are tested; on the training boxes, the grounding task chooses its
            baseline of one constant patch.

    The other arguments are those of ``DataModule``.
    """

    def __init__(self, root: str, image_root: str, split: Literal["test", "mimic_cxr"] = "test", **common: Any) -> None:
        super().__init__(**common)
        self.root, self.image_root, self.split = Path(root), Path(image_root), split

    def read_index(self) -> pd.DataFrame:
        for folder, name in ((self.root, "root"), (self.image_root, "image_root")):
            if not folder.is_dir():
                raise UserError(f"{folder}: folder not found; set data.{name}")
        path = next(iter(sorted(self.root.glob("MS_CXR*.json"), reverse=True)), None)
        if path is None:
            raise UserError(f"{self.root}: found no MS_CXR*.json; {SOURCE}")
        coco = read_coco(path)
        self.box_classes = coco.classes
        if "path" not in coco.images or coco.images[["path", "width", "height"]].isna().to_numpy().any():
            raise UserError(f"{path}: found an image without path, width or height; {SOURCE}")
        boxes = coco.boxes.join(coco.images[["path", "width", "height"]], on="image_id")

        def problem(row: int) -> str:
            return f"{path}: a box of image {boxes['image_id'].iloc[row]} has no label_text; {SOURCE}"

        phrases = drop_faulty(boxes, boxes["label_text"].isna(), problem, "box without label_text", self.drop)
        rows = []
        for key, own in phrases.groupby(["path", "category", "label_text"], sort=False):
            image, category, phrase = map(str, key)
            rows.append(
                {
                    "id": f"{Path(image).stem}/{category}/{phrase}",
                    "patient": _part(path, image, -3).removeprefix("p"),
                    "study": _part(path, image, -2).removeprefix("s"),
                    "image": f"{self.image_root}/{image}",
                    "text": phrase,
                    "boxes": own[["x1", "y1", "x2", "y2"]].to_numpy(float).tolist(),
                    "box_labels": [coco.classes.index(category)] * len(own),
                    "box_frame": own[["width", "height"]].iloc[0].tolist(),
                    "split": "test",
                }
            )
        frame = pd.DataFrame(rows)
        if self.split == "mimic_cxr":
            return self._as_mimic_cxr(frame)
        self._note_training_patients(frame)
        return frame

    def _split_table(self) -> pd.DataFrame:
        return read_table(find_table([self.image_root], SPLIT_TABLE, SOURCE), ["subject_id", "split"])

    def _as_mimic_cxr(self, frame: pd.DataFrame) -> pd.DataFrame:
        named = self._split_table().drop_duplicates("subject_id").set_index("subject_id")["split"]
        frame["split"] = frame["patient"].map(named).replace("validate", "val")
        unknown = ~frame["split"].isin(["train", "val", "test"])
        return self.leave_out(frame, unknown, f"patient not in {SPLIT_TABLE}")

    def _note_training_patients(self, frame: pd.DataFrame) -> None:
        try:
            table = self._split_table()
        except UserError:
            self.note(f"{self.image_root} has no {SPLIT_TABLE}: which patients trained is not known")
            return
        train = set(table.loc[table["split"] == "train", "subject_id"])
        seen = frame["patient"].isin(list(train))
        self.note(f"{int(seen.sum()):,} of {len(frame):,} phrases are of patients in MIMIC-CXR's training split")


def _part(path: Path, image: str, place: int) -> str:
    """A folder of files/p10/p10000032/s50414267/<dicom>.jpg."""
    parts = Path(image).parts
    if len(parts) < 4:
        raise UserError(f"{path}: found path {image!r}, expected files/p10/p10000032/s50414267/<dicom_id>.jpg")
    return parts[place]
