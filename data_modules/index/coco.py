"""COCO annotation files: images, categories and boxes, read with every mistake named."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from data_modules.errors import UserError


@dataclass
class CocoBoxes:
    """``images``: one row an image (file_name, width, height, and what else the file has), index = its COCO id;
    ``boxes``: one row a box: image_id, category (a name), x1, y1, x2, y2, and ``label_text`` where there is one;
    ``classes``: category names in the order of their ids."""

    images: pd.DataFrame
    boxes: pd.DataFrame
    classes: list[str]


def read_coco(path: Path) -> CocoBoxes:
    """Read a COCO file of boxes.

    Raises:
        UserError: not a file, not JSON, not COCO, or a box of an unknown image or category, or outside its image.
    """
    if not path.is_file():
        raise UserError(f"{path}: COCO file not found")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        images = pd.DataFrame(content["images"]).set_index("id")
        names = {category["id"]: category["name"] for category in sorted(content["categories"], key=lambda c: c["id"])}
        rows = [_row(path, place, entry, images, names) for place, entry in enumerate(content["annotations"])]
    except UserError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: found no COCO annotations ({type(error).__name__}: {error}), expected JSON with images (id, "
            "file_name, width, height), categories (id, name) and annotations (image_id, category_id, bbox)"
        ) from None
    columns = ["image_id", "category", "x1", "y1", "x2", "y2", "label_text"]
    return CocoBoxes(images, pd.DataFrame(rows, columns=columns), list(dict.fromkeys(names.values())))


def _row(path: Path, place: int, entry: dict[str, Any], images: pd.DataFrame, names: dict[int, str]) -> list[Any]:
    if entry["image_id"] not in images.index or entry["category_id"] not in names:
        raise UserError(
            f"{path}: annotation {place + 1} names image {entry['image_id']} and category {entry['category_id']}, "
            "expected ids of the file's images and categories; correct the file"
        )
    x, y, width, height = map(float, entry["bbox"])
    return [entry["image_id"], names[entry["category_id"]], x, y, x + width, y + height, entry.get("label_text")]
