"""Anyone's own annotated images: a folder of masks, a COCO file of boxes, or both, beside a folder of images."""

import math
from pathlib import Path
from typing import Any

import pandas as pd

from data_modules.base import DataModule
from data_modules.errors import UserError
from data_modules.images.folder import folder_index
from data_modules.index.coco import read_coco
from data_modules.index.pair_tables import IMAGE, TEXT, describe_samples, find_column, locate_images, read_pairs
from data_modules.index.partners import partners
from data_modules.text.sections import clean

NAME = "name"
"""Path below ``images/``, or below the root."""


class AnnotatedDataModule(DataModule):
    """Images of ``images/``; masks and boxes belong to the image of the same path without its ending, or, where only
    one image has it, of the same name. Images without an annotation are left out.

    An image that the box file lists without a box is a negative; one that it does not list is left out, and so is one
    of which it has only crowd regions (``iscrowd``) or boxes without area. Without a width and height there, boxes are
    in pixels of the image file.

    Args:
        root: folder of ``images/`` and of everything below.
        masks: folder of one mask an image (``masks``): 0 outside the structure, anything else inside.
        mask_class: what the masks show.
        boxes: COCO file (``boxes.json``), in pixels of images of the width and height it states.
        table: with an image column, and split, patient, group and licence where there are: see ``PairsDataModule``.
            Without one every image is a patient, split 80/10/10, stratified by the classes of its boxes.
        image_column, split_column, patient_column, group_column: of the table, as in ``PairsDataModule``.
        text_column: column of a text, such as a phrase that names what is annotated; null reads none. Images without
            one are left out; in a drawn split, equal texts are in one split.

    The other arguments are those of ``DataModule``.
    """

    def __init__(
        self,
        root: str,
        masks: str | None = None,
        mask_class: str = "structure",
        boxes: str | None = None,
        table: str | None = None,
        text_column: str | None = None,
        image_column: str | None = None,
        split_column: str | None = None,
        patient_column: str | None = None,
        group_column: str | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        if masks is None and boxes is None:
            raise UserError("found neither data.masks nor data.boxes, expected a folder of masks or a COCO file")
        columns = {"text": text_column, "image": image_column, "split": split_column, "patient": patient_column,
                   "group": group_column}  # fmt: skip
        if table is None and (named := next((role for role, name in columns.items() if name is not None), None)):
            raise UserError(
                f"found data.{named}_column {columns[named]} without data.table; name the table that has it"
            )
        self.root, self.table, self.masks, self.boxes = Path(root), table, masks, boxes
        self.text_column, self.image_column, self.split_column = text_column, image_column, split_column
        self.patient_column, self.group_column = patient_column, group_column
        self.mask_class = mask_class if masks else ""

    def read_index(self) -> pd.DataFrame:
        frame = self._images()
        frame[NAME] = [_inside(Path(path), self.root / "images", self.root) for path in frame["image"]]
        if self.masks is not None:
            frame = self._with_masks(frame, self.root / self.masks)
        if self.boxes is not None:
            frame = self._with_boxes(frame, self.root / self.boxes)
        return frame.drop(columns=NAME).reset_index(drop=True)

    def _images(self) -> pd.DataFrame:
        if self.table is None:
            return folder_index(self.root / "images").drop(columns=["split", "group"])
        path, table = read_pairs(self.root, self.table, self.image_column)
        image = find_column(path, table, "image", self.image_column, IMAGE)
        if image is None:
            raise UserError(
                f"{path}: found columns {', '.join(table.columns)}, expected one of {', '.join(IMAGE)}; name it with "
                "data.image_column"
            )
        table = table[table[image].notna()].drop_duplicates(image)
        given = {"group": self.group_column, "patient": self.patient_column, "split": self.split_column}
        frame = describe_samples(path, table, image, given).assign(image=locate_images(self.root, table[image]))
        if self.text_column is None:
            return frame
        texts = table[find_column(path, table, "text", self.text_column, TEXT)].fillna("").map(clean)
        return self.leave_out(frame.assign(text=texts), texts == "", "no text")

    def _with_masks(self, frame: pd.DataFrame, folder: Path) -> pd.DataFrame:
        masks = folder_index(folder)
        places = partners(frame[NAME].tolist(), masks["id"].tolist(), "masks")
        frame["mask"] = [None if place is None else masks["image"][place] for place in places]
        return self.leave_out(frame, frame["mask"].isna(), "no mask")

    def _with_boxes(self, frame: pd.DataFrame, path: Path) -> pd.DataFrame:
        coco = read_coco(path)
        self.box_classes = coco.classes
        listed = [_inside(Path(name), Path("images")) for name in coco.images["file_name"]]
        places = pd.Series(partners(frame[NAME].tolist(), listed, "file_name entries"), frame.index, dtype="Int64")
        for reason, count in coco.unusable.items():
            self.note(f"{path.name}: {count:,} x {reason}, not read")
        frame = self.leave_out(frame, places.isna(), "not in the box file").copy()
        images = coco.images.iloc[places.dropna().to_numpy(int)]
        own = coco.boxes.groupby("image_id").indices
        drawn = [coco.boxes.iloc[own.get(number, [])] for number in images.index]
        corners = [rows[["x1", "y1", "x2", "y2"]].to_numpy(float).tolist() for rows in drawn]
        frame["boxes"] = pd.Series(corners, frame.index, dtype=object)
        frame["box_labels"] = [[coco.classes.index(name) for name in rows["category"]] for rows in drawn]
        sizes = images[["width", "height"]].to_numpy(float).tolist()
        frame["box_frame"] = pd.Series(
            [None if math.isnan(sum(size)) else size for size in sizes], frame.index, dtype=object
        )
        unknown = pd.Series(images.index.isin(list(coco.unknown)))
        return self.leave_out(frame, unknown, "only crowd regions or boxes without area")


def _inside(path: Path, *folders: Path) -> str:
    """``path`` relative to the first of ``folders`` that it is in."""
    folder = next((folder for folder in folders if path.is_relative_to(folder)), Path())
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()
