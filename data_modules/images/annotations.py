"""Masks and boxes of one image as arrays, and the errors they can have."""

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
"""A mask that is written out in the index, as in a prepared store, and not a file."""
SLACK = 1.0
"""Pixels a box may reach over the edge: tables are rounded."""


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
    drawn = decode_mask(str(mask), str(mask))
    if drawn.shape != (height, width):
        raise UserError(
            f"{mask}: found a mask of {drawn.shape[1]} x {drawn.shape[0]} pixels, expected {width} x {height} as in "
            f"{record['image']}; resize the mask (nearest) or restore the image"
        )
    return drawn.astype(np.uint8)


def written_out(record: dict[str, Any], size: tuple[int, int]) -> str:
    """The ``mask`` file of a row as run lengths that ``read_mask`` reads. UserError as there."""
    return RUNS + encode_runs(read_mask(record, size).astype(bool))


def fit_mask(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The mask as large as the shrunk image; nearest, by pixel centres as the image."""
    if mask.shape == shape:
        return mask
    return cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def read_boxes(record: dict[str, Any], size: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """float64 (n, 4) corners in pixels of the image as it was read.

    Args:
        record: an index row; its ``box_frame`` is the (width, height) its boxes refer to.
        size: (width, height) of the image file, which they refer to without a ``box_frame``.
        shape: (H, W) as it was read.

    Raises:
        UserError: a box outside the image.
    """
    boxes = np.asarray(record["boxes"], np.float64).reshape(-1, 4)
    height, width = shape
    frame = size if record.get("box_frame") is None else record["box_frame"]
    boxes = boxes * np.array([width / frame[0], height / frame[1]] * 2)
    problem = first_outside(boxes, width, height)
    if problem is not None:
        raise UserError(
            f"{record['image']}: found box {problem} in an image of {width} x {height} pixels, expected x1 < x2 and "
            "y1 < y2 inside it; correct the table, or restore the image to the size that was annotated"
        )
    return np.clip(boxes, 0, [width, height, width, height])


def first_outside(boxes: np.ndarray, width: float, height: float) -> list[float] | None:
    """The first of (n, 4) corners that is empty or not inside the frame."""
    x1, y1, x2, y2 = boxes.T
    odd = (x1 < -SLACK) | (y1 < -SLACK) | (x2 > width + SLACK) | (y2 > height + SLACK) | (x2 <= x1) | (y2 <= y1)
    odd |= ~np.isfinite(boxes).all(1)
    return [round(float(value), 2) for value in boxes[odd.argmax()]] if odd.any() else None


def refuse_outside(frame: pd.DataFrame) -> None:
    """UserError naming the first sample of an index with a box outside its ``box_frame``."""
    if not {"boxes", "box_frame"} <= set(frame):
        return
    for name, boxes, size in zip(frame["id"], frame["boxes"], frame["box_frame"], strict=True):
        if size is None:  # boxes in pixels of the file are looked at with the file
            continue
        problem = first_outside(np.asarray(boxes, np.float64).reshape(-1, 4), *size)
        if problem is not None:
            raise UserError(
                f"sample {name}: found box {problem} in a frame of {size[0]:g} x {size[1]:g} pixels, expected "
                "x1 < x2 and y1 < y2 inside it; correct the annotation table"
            )
