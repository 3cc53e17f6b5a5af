"""Reads the mask and the boxes of one image, and refuses those that do not fit it."""

from typing import Any

import cv2
import numpy as np
import pandas as pd

from data_modules.errors import UserError
from data_modules.images.decode import decode_mask
from data_modules.images.run_lengths import decode_runs, encode_runs

MASK_COLUMNS = ("mask", "runs")
BOX_COLUMNS = ("boxes", "box_labels", "box_frame")
RUNS = "runs:"
"""Prefix of a mask that the index holds as run lengths, as in a prepared store, instead of a file name."""
SLACK = 1.0
"""Pixels by which a box may reach over the edge of its image, because tables are rounded."""


def read_mask(record: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W) of 0 and 1 from the ``mask`` or the ``runs`` of an index row.

    Args:
        record: the row.
        size: (width, height) of the image file that was annotated.

    Raises:
        UserError: the mask is not of that size, or run lengths do not fit it.
    """
    width, height = size
    runs, mask = record.get("runs"), record.get("mask")
    if isinstance(mask, str) and mask.startswith(RUNS):
        runs = [mask.removeprefix(RUNS)]
    if runs is not None:
        return decode_runs(runs, height, width, f"run lengths of {record['image']}").astype(np.uint8)
    annotated = decode_mask(str(mask), str(mask))
    if annotated.shape != (height, width):
        raise UserError(
            f"{mask}: found a mask of {annotated.shape[1]} x {annotated.shape[0]} pixels, expected {width} x {height} "
            f"as in {record['image']}; resize the mask (nearest) or restore the image"
        )
    return annotated.astype(np.uint8)


def written_out(record: dict[str, Any], size: tuple[int, int]) -> str:
    """The mask of a row as run lengths, which :func:`read_mask` reads. Arguments and errors as there."""
    return RUNS + encode_runs(read_mask(record, size).astype(bool))


def fit_mask(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """``mask`` resized to ``shape``, that of the shrunk image, by nearest neighbour at pixel centres."""
    if mask.shape == shape:
        return mask
    return cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def read_boxes(record: dict[str, Any], size: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """float64 (n, 4) corners x1, y1, x2, y2 in pixels of the image as it was read.

    Args:
        record: an index row; its ``box_frame`` is the (width, height) to which its boxes refer.
        size: (width, height) of the image file, to which they refer without a ``box_frame``.
        shape: (H, W) of the image as it was read.

    Raises:
        UserError: a box outside the image.
    """
    boxes = np.asarray(record["boxes"], np.float64).reshape(-1, 4)
    height, width = shape
    frame = size if record.get("box_frame") is None else record["box_frame"]
    boxes = boxes * np.array([width / frame[0], height / frame[1]] * 2)
    _refuse_outside(boxes, width, height, record["image"], "an image")
    return np.clip(boxes, 0, [width, height, width, height])


def refuse_outside(frame: pd.DataFrame) -> None:
    """UserError naming the first sample of an index with a box outside its ``box_frame``.

    Boxes without a ``box_frame`` are in pixels of the image file, and are checked when it is read.
    """
    if not {"boxes", "box_frame"} <= set(frame):
        return
    for name, boxes, size in zip(frame["id"], frame["boxes"], frame["box_frame"], strict=True):
        if size is not None:
            corners = np.asarray(boxes, np.float64).reshape(-1, 4)
            _refuse_outside(corners, size[0], size[1], f"sample {name}", "a frame")


def _refuse_outside(boxes: np.ndarray, width: float, height: float, where: str, what: str) -> None:
    """UserError for the first of (n, 4) corners that is empty or not inside ``width`` x ``height`` pixels."""
    x1, y1, x2, y2 = boxes.T
    inside = (x1 >= -SLACK) & (y1 >= -SLACK) & (x2 <= width + SLACK) & (y2 <= height + SLACK)
    sound = inside & (x2 > x1) & (y2 > y1) & np.isfinite(boxes).all(1)
    if not sound.all():
        first = [round(float(value), 2) for value in boxes[sound.argmin()]]
        raise UserError(
            f"{where}: found box {first} in {what} of {width:g} x {height:g} pixels, expected x1 < x2 and y1 < y2 "
            "inside it; correct the annotation table, or restore the image to the size that was annotated"
        )
