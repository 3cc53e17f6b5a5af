"""Detection metrics by pycocotools: COCO mAP over all images, and the published mAP@.40-.75 over some of them."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mpma_lightning.evaluation.metric import Metric, count

Boxes = dict[str, Tensor]
"""``boxes`` (n, 4) corners and ``labels`` (n,); of a detection also ``scores`` (n,)."""
PUBLISHED_THRESHOLDS = [0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75]
PUBLISHED_CONFIDENCE = 0.5
PUBLISHED = Metric("map_40_75_mgca", unit="share", headline=True)
PUBLISHED_IMAGES = count("published_images")
MAP = Metric("map", unit="share", headline=True)
MAP_50 = Metric("map_50", unit="share", headline=True)
MAP_75 = Metric("map_75", unit="share")
MAR_100 = Metric("mar_100", unit="share")
MAX_DETECTIONS = 100
"""Detections per image and class that are evaluated [COCO]."""


def detection_scores(found: list[Boxes], truth: list[Boxes], classes: list[str]) -> dict[Metric, float]:
    """``map``, ``map_50``, ``map_75``, ``mar_100`` [COCO], ``map/<class>`` and the published variant.

    COCO's metrics count every image: detections on an image without boxes are false positives. The published variant
    [MGCA's code] leaves out detections with a score below 0.5, and then all images without a box or without a
    detection, even where a box was missed; it is absent if no image is left. A class without a box has no AP.

    Args:
        found: detections of N images.
        truth: annotated boxes.
        classes: names of the labels.
    """
    scores: dict[Metric, float] = {}
    if any(len(one["boxes"]) for one in truth):
        coco = match(found, truth)
        precision, recall = coco.eval["precision"][..., 0, 0], coco.eval["recall"][..., 0, 0]
        at = [round(100 * threshold) for threshold in coco.params.iouThrs]
        scores = {
            MAP: _mean(precision),
            MAP_50: _mean(precision[at.index(50)]),
            MAP_75: _mean(precision[at.index(75)]),
            MAR_100: _mean(recall),
        }
        for place, k in enumerate(coco.params.catIds if len(classes) > 1 else ()):
            if (precision[..., place] >= 0).any():
                scores[MAP.of(classes[k])] = _mean(precision[..., place])
    confident = [{name: values[one["scores"] >= PUBLISHED_CONFIDENCE] for name, values in one.items()} for one in found]
    left = [i for i, one in enumerate(confident) if len(one["boxes"]) and len(truth[i]["boxes"])]
    scores[PUBLISHED_IMAGES] = float(len(left))
    if left:
        published = match([confident[i] for i in left], [truth[i] for i in left], PUBLISHED_THRESHOLDS)
        scores[PUBLISHED] = _mean(published.eval["precision"])
    return scores


def match(found: list[Boxes], truth: list[Boxes], thresholds: Sequence[float] | None = None) -> Any:
    """pycocotools' ``COCOeval``, evaluated and accumulated, for boxes of any size.

    Args:
        found, truth: of N images.
        thresholds: of IoU; 0.5 to 0.95 [COCO] unless given.
    """
    from pycocotools.cocoeval import COCOeval

    kinds = sorted({int(k) for one in (*truth, *found) for k in one["labels"]})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCOeval(_coco(truth, kinds), _coco(found, kinds), "bbox")
        coco.params.areaRng, coco.params.areaRngLbl, coco.params.maxDets = [[0, 1e10]], ["all"], [MAX_DETECTIONS]
        if thresholds is not None:
            coco.params.iouThrs = np.array(thresholds)
        coco.evaluate()
        coco.accumulate()
    return coco


def _coco(images: list[Boxes], kinds: list[int]) -> Any:
    from pycocotools.coco import COCO

    rows: list[dict[str, Any]] = []
    for i, one in enumerate(images):
        scores = one["scores"].tolist() if "scores" in one else [None] * len(one["boxes"])
        for (x1, y1, x2, y2), k, score in zip(one["boxes"].tolist(), one["labels"].tolist(), scores, strict=True):
            row = {"id": len(rows) + 1, "image_id": i, "category_id": k, "iscrowd": 0}
            row |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "score": score}
            rows.append(row)
    coco = COCO()
    coco.dataset = {
        "images": [{"id": i} for i in range(len(images))],
        "categories": [{"id": k} for k in kinds],
        "annotations": rows,
    }
    coco.createIndex()
    return coco


def _mean(values: np.ndarray) -> float:
    """Mean without -1, COCO's value for a class without a box."""
    return float(values[values > -1].mean())


def on_cpu(boxes: Boxes) -> Boxes:
    """Copies on the CPU."""
    return {
        name: values.detach().to("cpu", torch.int64 if name == "labels" else torch.float32)
        for name, values in boxes.items()
    }
