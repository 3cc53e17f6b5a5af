"""Masks and boxes of one image as arrays, and the errors they can have."""

from typing import Any

import numpy as np
import pandas as pd

from data_modules.images import read_image
from data_modules.run_lengths import decode_runs
from mpma_lightning.errors import UserError

MASK_COLUMNS = ("mask", "runs")
BOX_COLUMNS = ("boxes", "box_labels", "box_frame")
SLACK = 1.0
"""Pixels a box may reach over the edge: tables are rounded."""


def read_mask(record: dict[str, Any], shape: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W) of 0 and 1 from the ``mask`` file or the ``runs`` of an index row.

    Raises:
        UserError: the mask file is not of the image's size, or run lengths do not fit it.
    """
    if record.get("runs") is not None:
        return decode_runs(record["runs"], *shape, f"run lengths of {record['image']}").astype(np.uint8)
    mask = read_image(record["mask"])
    if mask.shape != shape:
        raise UserError(
            f"{record['mask']}: found a mask of {mask.shape[1]} x {mask.shape[0]} pixels, expected {shape[1]} x "
            f"{shape[0]} as in {record['image']}; resize the mask (nearest) or restore the image"
        )
    return (mask > 0).astype(np.uint8)


def read_boxes(record: dict[str, Any], shape: tuple[int, int]) -> np.ndarray:
    """float64 (n, 4) corners in pixels of an image of ``shape``; scaled when the row names another ``box_frame``.

    Raises:
        UserError: a box outside the image.
    """
    boxes = np.asarray(record["boxes"], np.float64).reshape(-1, 4)
    height, width = shape
    if record.get("box_frame") is not None:
        boxes = boxes * np.array([width / record["box_frame"][0], height / record["box_frame"][1]] * 2)
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
        problem = first_outside(np.asarray(boxes, np.float64).reshape(-1, 4), *size)
        if problem is not None:
            raise UserError(
                f"sample {name}: found box {problem} in a frame of {size[0]:g} x {size[1]:g} pixels, expected "
                "x1 < x2 and y1 < y2 inside it; correct the annotation table"
            )
