"""ChestX-Det: 3,578 images of NIH ChestX-ray14 with boxes and outlines of 13 findings, drawn by radiologists."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from data_modules.base import DataModule
from data_modules.boundary import read_json
from data_modules.errors import UserError
from data_modules.images.run_lengths import encode_runs
from data_modules.images.source import image_source
from data_modules.index.draws import hold_out
from data_modules.index.faulty import drop_faulty
from data_modules.index.files import files_below, require_folder

SOURCE = "it comes with ChestX-Det (github.com/Deepwise-AILab/ChestX-Det-Dataset); set data.root to its folder"
CLASSES = (
    "Atelectasis",
    "Calcification",
    "Cardiomegaly",
    "Consolidation",
    "Diffuse Nodule",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Fracture",
    "Mass",
    "Nodule",
    "Pleural Thickening",
    "Pneumothorax",
)
HELD_OUT = 0.1
LISTS = ("syms", "boxes", "polygons")


class ChestXDetDataModule(DataModule):
    """Official training and test images; a tenth of the former validates. Files have other names than in NIH
    ChestX-ray14: `check chestx_det --against STORE` finds the images that a pre-training store shares with them.

    Args:
        root: folder of ``ChestX_Det_train.json``, ``ChestX_Det_test.json`` and of the images, in any folders.
        labels: classes of ``labels`` columns and of boxes.
        outline: a class whose outlines become the mask of every image; null: no mask.

    The other arguments are those of ``DataModule``.
    """

    def __init__(self, root: str, labels: Sequence[str] = CLASSES, outline: str | None = None, **common: Any) -> None:
        super().__init__(**common)
        if unknown := [name for name in labels if name not in CLASSES]:
            raise UserError(f"found data.labels {unknown[0]!r}, expected some of {', '.join(CLASSES)}")
        if outline is not None and outline not in CLASSES:
            raise UserError(f"found data.outline {outline!r}, expected one of {', '.join(CLASSES)}, or null")
        self.root, self.outline = Path(root), outline
        self.labels, self.label_names, self.box_classes = list(labels), list(labels), list(labels)
        self.mask_class = outline or ""

    def read_index(self) -> pd.DataFrame:
        require_folder(self.root, "ChestX-Det")
        files: dict[str, str] = {}
        for file in files_below(self.root, [".png", ".jpg"]):
            files.setdefault(file.name, str(file))
        parts = [self._images(self.root / f"ChestX_Det_{split}.json", split, files) for split in ("train", "test")]
        frame = pd.concat(parts, ignore_index=True)
        return hold_out(frame, frame[self.label_names], HELD_OUT, self.seed)

    def _images(self, path: Path, split: str, files: dict[str, str]) -> pd.DataFrame:
        if not path.is_file():
            raise UserError(f"{path}: not found; {SOURCE}")
        content = read_json(path, "a list of images")
        if not isinstance(content, list) or not content:
            raise UserError(f"{path}: found {type(content).__name__}, expected a list of images; download it again")
        records = pd.Series(content, dtype=object)

        def problem(place: int) -> str:
            return (
                f"{path}: entry {place + 1} ({str(content[place])[:60]}) is no file_name with as many syms, boxes and "
                f"polygons, of the classes {', '.join(CLASSES)}; download it again"
            )

        sound = records.map(_is_sound).astype(bool)
        kept = drop_faulty(records, ~sound, problem, "entry that is no image with boxes", self.drop)
        names = [record["file_name"] for record in kept]
        images = [files.get(name, str(self.root / name)) for name in names]
        frame = pd.DataFrame({"id": names, "patient": names, "study": names, "image": images, "split": split})
        drawn = [[(n, b) for n, b in zip(r["syms"], r["boxes"], strict=True) if n in self.labels] for r in kept]
        corners = [[list(map(float, box)) for _, box in own] for own in drawn]
        frame["boxes"] = pd.Series(corners, frame.index, dtype=object)
        frame["box_labels"] = [[self.labels.index(name) for name, _ in own] for own in drawn]
        present = [{*record["syms"]} for record in kept]
        labels = {name: [float(name in own) for own in present] for name in self.labels}
        frame = frame.join(pd.DataFrame(labels, index=frame.index).astype("float32"))
        if self.outline is not None:
            frame["runs"] = [self._runs(record, image) for record, image in zip(kept, images, strict=True)]
        return frame

    def _runs(self, record: dict[str, Any], image: str) -> list[str]:
        """The outlines of the chosen class, filled, as run lengths on the image."""
        own = [p for name, p in zip(record["syms"], record["polygons"], strict=True) if name == self.outline]
        if not own or not Path(image).is_file():  # a missing image is told elsewhere
            return [encode_runs(np.zeros((1, 1), bool))]
        width, height = image_source(image).size()
        mask = np.zeros((height, width), np.uint8)
        cv2.fillPoly(mask, [np.asarray(points, np.int32) for points in own], 1)
        return [encode_runs(mask.astype(bool))]


def _is_sound(record: Any) -> bool:
    if not isinstance(record, dict) or not isinstance(record.get("file_name"), str):
        return False
    if not all(isinstance(record.get(key), list) for key in LISTS):
        return False
    names, boxes, outlines = (record[key] for key in LISTS)
    if not len(names) == len(boxes) == len(outlines) or not {*names} <= {*CLASSES}:
        return False
    numbers = all(
        isinstance(box, list) and len(box) == 4 and all(isinstance(s, int | float) for s in box) for box in boxes
    )
    points = all(isinstance(p, list) and all(isinstance(xy, list) and len(xy) == 2 for xy in p) for p in outlines)
    return numbers and points and all(box[2] > box[0] and box[3] > box[1] for box in boxes)
