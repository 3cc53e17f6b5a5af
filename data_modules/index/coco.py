"""COCO annotation files: images, categories and boxes."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from data_modules.boundary import boundary, read_json
from data_modules.errors import UserError

EXPECTED = (
    "JSON with images (id, file_name, width, height), categories (id, name) and annotations (image_id, category_id, "
    "bbox)"
)


@dataclass
class CocoBoxes:
    """The content of a COCO file.

    Attributes:
        images: one row an image, index = its COCO id: file_name, width, height (NaN where the file has none), and any
            other field of the file.
        boxes: one row a box: image_id, category (name), x1, y1, x2, y2, and label_text where the file has it.
        classes: category names in the order of their ids.
        unusable: number of annotations that are not read, by reason: crowd region, box without area.
        unknown: ids of the images that have only such annotations.
    """

    images: pd.DataFrame
    boxes: pd.DataFrame
    classes: list[str]
    unusable: dict[str, int] = field(default_factory=dict)
    unknown: set[Any] = field(default_factory=set)


def read_coco(path: Path) -> CocoBoxes:
    """Read a COCO file of boxes.

    Raises:
        UserError: not a file, not JSON, not COCO, an image id or a category name twice, or a box of an unknown image or
            category; with the number of the annotation.
    """
    if not path.is_file():
        raise UserError(f"{path}: COCO file not found")
    content = read_json(path, EXPECTED)
    with boundary(f"{path}: found no COCO annotations", f"expected {EXPECTED}"):
        images = pd.DataFrame(content["images"]).set_index("id")
        _refuse_twice(path, images)
        for side in ("width", "height"):
            images[side] = pd.to_numeric(images[side]) if side in images else float("nan")
        categories = sorted(content["categories"], key=lambda category: category["id"])
        names = {category["id"]: category["name"] for category in categories}
        rows, unusable, doubtful = [], Counter[str](), set()
        for place, entry in enumerate(content["annotations"], start=1):
            row, problem = _row(f"{path}: annotation {place}", entry, images, names)
            if problem:
                unusable[problem] += 1
                doubtful.add(entry["image_id"])
            else:
                rows.append(row)
        columns = ["image_id", "category", "x1", "y1", "x2", "y2", "label_text"]
        boxes = pd.DataFrame(rows, columns=columns)
        unknown = doubtful - set(boxes["image_id"])
        return CocoBoxes(images, boxes, list(dict.fromkeys(names.values())), dict(unusable), unknown)


def _refuse_twice(path: Path, images: pd.DataFrame) -> None:
    twice = images.index[images.index.duplicated()]
    if len(twice):
        files = " and ".join(map(str, images.loc[[twice[0]], "file_name"]))
        raise UserError(
            f"{path}: {len(twice):,} image ids are not unique (first: {twice[0]} of {files}), expected one image "
            "an id; number the images anew where files were joined"
        )


def _row(
    where: str, entry: dict[str, Any], images: pd.DataFrame, names: dict[int, str]
) -> tuple[list[Any], str | None]:
    """The row of a box, and why it is none."""
    if entry["image_id"] not in images.index or entry["category_id"] not in names:
        raise UserError(
            f"{where} names image {entry['image_id']} and category {entry['category_id']}, expected ids of the file's "
            "images and categories; correct the file"
        )
    x, y, width, height = map(float, entry["bbox"])
    if width < 0 or height < 0:
        raise UserError(f"{where} has box {entry['bbox']}, expected x, y, width and height above 0; correct the file")
    problem = "crowd region" if entry.get("iscrowd") else "box without area" if not width or not height else None
    label = names[entry["category_id"]]
    return [entry["image_id"], label, x, y, x + width, y + height, entry.get("label_text")], problem
