"""Bootstrap interval of COCO mAP; detections are matched once for all draws."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpma_lightning.evaluation.bootstrap import Draw, bootstrap, interval_of
from mpma_lightning.evaluation.detection import Boxes, match

RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Matched:
    """Detections of one class by descending score.

    Attributes:
        hits: (10, n) whether each detection matches a box, at each threshold of IoU.
        image: (n,) index of its image.
        boxes: (N,) number of annotated boxes of each image.
    """

    hits: np.ndarray
    image: np.ndarray
    boxes: np.ndarray

    def average_precision(self, weights: np.ndarray) -> float:
        """COCO's AP@.50:.95 where image i counts ``weights[i]`` times; NaN without a box."""
        total = float(self.boxes @ weights)
        if not total:
            return float("nan")
        counts = weights[self.image]
        true, predicted = np.cumsum(self.hits * counts, axis=1), np.cumsum(counts)
        precision = true / np.maximum(predicted, 1e-12)
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        padded = np.pad(precision, ((0, 0), (0, 1)))
        reached = [np.searchsorted(row / total, RECALLS) for row in true]
        return float(np.mean([row[places] for row, places in zip(padded, reached, strict=True)]))


def matches(found: list[Boxes], truth: list[Boxes]) -> list[Matched]:
    """pycocotools' matches, one entry for each class that has a box."""
    coco, count = match(found, truth), len(truth)
    matched = []
    for k in range(len(coco.params.catIds)):
        images = [(i, one) for i, one in enumerate(coco.evalImgs[k * count : (k + 1) * count]) if one is not None]
        boxes = np.zeros(count)
        for i, one in images:
            boxes[i] = len(one["gtIds"])
        if not boxes.any():
            continue
        scores = np.concatenate([np.asarray(one["dtScores"]) for _, one in images])
        descending = np.argsort(-scores, kind="stable")
        hits = np.concatenate([one["dtMatches"] > 0 for _, one in images], axis=1)
        image = np.repeat([i for i, _ in images], [len(one["dtScores"]) for _, one in images])
        matched.append(Matched(hits[:, descending], image[descending], boxes))
    return matched


def map_interval(
    found: list[Boxes], truth: list[Boxes], unit: Sequence[str] | np.ndarray, draws: int = 200, seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of mAP@.50:.95 over patients.

    Args:
        found, truth: of N images.
        unit: N names of patients.
    """
    matched = matches(found, truth)

    def mean_average_precision(draw: Draw) -> float:
        weights = draw.weight.astype(float)
        values = [one.average_precision(weights) for one in matched]
        return float("nan") if np.isnan(values).all() else float(np.nanmean(values))

    return interval_of(bootstrap(np.asarray(unit), mean_average_precision, draws, seed))
