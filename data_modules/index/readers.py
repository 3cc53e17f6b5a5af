"""Several readers of one image as one truth: labels by vote, boxes by groups that overlap."""

import numpy as np
import pandas as pd

OVERLAP = 0.4
"""IoU with the mean of a group from which a box of another reader is of that group."""


def fuse_boxes(boxes: pd.DataFrame, agreeing: int) -> pd.DataFrame:
    """One box for each group of boxes of one image and class that different readers drew around the same thing.

    A reader's boxes are of different groups. In the order of the readers' names, a box joins the group whose mean it
    overlaps most, by ``OVERLAP`` or more, if its reader is not in it yet; else it begins a group. A group of at least
    ``agreeing`` readers becomes the mean of its corners; others are left out.

    Args:
        boxes: image, label, reader, x1, y1, x2, y2; a row a box.
        agreeing: readers that a group needs.

    Returns:
        image, label, x1, y1, x2, y2, in the order of the images.
    """
    sides = ["x1", "y1", "x2", "y2"]
    rows = []
    ordered = boxes.sort_values(["reader", *sides], kind="stable")
    for (image, label), own in ordered.groupby(["image", "label"], sort=True):
        groups: list[list[np.ndarray]] = []
        readers: list[set[str]] = []
        for reader, corners in zip(own["reader"], own[sides].to_numpy(float), strict=True):
            overlaps = [
                iou(np.mean(group, axis=0), corners) if reader not in known else 0.0
                for group, known in zip(groups, readers, strict=True)
            ]
            if overlaps and max(overlaps) >= OVERLAP:
                place = int(np.argmax(overlaps))
                groups[place].append(corners)
                readers[place].add(reader)
            else:
                groups.append([corners])
                readers.append({reader})
        for group, known in zip(groups, readers, strict=True):
            if len(known) >= agreeing:
                rows.append([image, label, *np.mean(group, axis=0).tolist()])
    return pd.DataFrame(rows, columns=["image", "label", *sides])


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes (x1, y1, x2, y2)."""
    sides = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    shared = float(sides.prod())
    union = float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()) - shared
    return shared / union if union > 0 else 0.0
