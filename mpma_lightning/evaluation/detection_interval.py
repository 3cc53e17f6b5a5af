"""Bootstrap interval of COCO mAP: detections are matched once, patients are drawn many times."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torchvision.ops import box_iou

from mpma_lightning.evaluation.bootstrap import Draw, bootstrap, interval_of
from mpma_lightning.evaluation.detection import Boxes

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
MOST = 100
"""Detections an image and class that count [COCO]."""


@dataclass(frozen=True)
class Matched:
    """One class: detections by falling score, ``hits`` (10, n) at each threshold, and the boxes of every image."""

    hits: np.ndarray
    image: np.ndarray
    boxes: np.ndarray

    def average_precision(self, weights: np.ndarray) -> float:
        """COCO's AP@.50:.95 with image i counted ``weights[i]`` times; NaN without a box."""
        total = float(self.boxes @ weights)
        if not total:
            return float("nan")
        own = weights[self.image]
        true, made = np.cumsum(self.hits * own, axis=1), np.cumsum(own)
        precision = true / np.maximum(made, 1e-12)
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        padded = np.pad(precision, ((0, 0), (0, 1)))
        reached = [np.searchsorted(row / total, RECALLS) for row in true]
        return float(np.mean([row[places] for row, places in zip(padded, reached, strict=True)]))


def match(found: list[Boxes], truth: list[Boxes]) -> list[Matched]:
    """One entry a class that has a box, as pycocotools matches: by falling score, each to the best box left."""
    matched = []
    for label in sorted({int(k) for one in truth for k in one["labels"]}):
        hits, image, scores = [np.zeros((len(THRESHOLDS), 0), bool)], [], []
        boxes = np.array([int((one["labels"] == label).sum()) for one in truth])
        for i, (one, true) in enumerate(zip(found, truth, strict=True)):
            own = {name: values[one["labels"] == label] for name, values in one.items()}
            order = own["scores"].argsort(descending=True, stable=True)[:MOST]
            overlap = box_iou(own["boxes"][order], true["boxes"][true["labels"] == label]).numpy()
            hits.append(np.array([_hits(overlap, threshold) for threshold in THRESHOLDS]))
            scores.append(own["scores"][order].numpy())
            image.append(np.full(len(order), i))
        falling = np.argsort(-np.concatenate(scores), kind="stable")
        matched.append(Matched(np.concatenate(hits, 1)[:, falling], np.concatenate(image)[falling], boxes))
    return matched


def _hits(overlap: np.ndarray, threshold: float) -> np.ndarray:
    """bool (n,) of (n, m) overlaps, rows by falling score."""
    free, hit = np.ones(overlap.shape[1], bool), np.zeros(len(overlap), bool)
    for row, values in enumerate(overlap):
        left = np.where(free, values, -1.0)
        if len(left) and left.max() >= threshold:
            hit[row], free[left.argmax()] = True, False
    return hit


def map_interval(
    found: list[Boxes], truth: list[Boxes], unit: Sequence[str] | np.ndarray, draws: int = 200, seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of mAP@.50:.95 over all images; units (patients) are drawn, with all their images.

    Recall is read off in float64, as by pycocotools; torchmetrics, which gives the mAP itself, reads it off in float32,
    so that the interval may sit slightly off that figure.

    Args:
        found, truth: of N images.
        unit: N names.
    """
    matched = match(found, truth)

    def mean_average_precision(draw: Draw) -> float:
        weights = draw.weight.astype(float)
        values = [one.average_precision(weights) for one in matched]
        return float("nan") if np.isnan(values).all() else float(np.nanmean(values))

    return interval_of(bootstrap(np.asarray(unit), mean_average_precision, draws, seed))
