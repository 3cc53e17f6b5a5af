"""Detection scores: COCO mAP over all images, and the published mAP@.40-.75 over some of them."""

import warnings
from typing import Any

import torch
from torch import Tensor

from mpma_lightning.evaluation.metric import Metric, count

Boxes = dict[str, Tensor]
"""``boxes`` (n, 4) corners and ``labels`` (n,); of a detection also ``scores`` (n,)."""
PUBLISHED_THRESHOLDS = [0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75]
PUBLISHED_CONFIDENCE = 0.5
PUBLISHED = Metric("det-frozen-mgca/map_40_75", headline=True)
PUBLISHED_IMAGES = count("published_images")
MAP = Metric("map", headline=True)
MAP_50 = Metric("map_50", headline=True)
COCO = (MAP, MAP_50, Metric("map_75"), Metric("mar_100"))


def detection_scores(found: list[Boxes], truth: list[Boxes], classes: list[str]) -> dict[Metric, float]:
    """``map``, ``map_50``, ``map_75``, ``mar_100`` [COCO], ``map/<class>`` and the published variant.

    COCO's counts every image: boxes found on one without any are false positives. The published variant
    [MGCA's code] leaves out detections below a confidence of 0.5, and then every image without a box or without a
    detection, misses included; it is absent where no image is left. A class without a box has no AP.

    Args:
        found: detections of N images.
        truth: their boxes.
        classes: names, by label.
    """
    scores: dict[Metric, float] = {}
    if any(len(one["boxes"]) for one in truth):
        result = _coco(found, truth, None)
        scores = {metric: float(result[metric.name]) for metric in COCO}
        if len(classes) > 1:
            for k, value in zip(
                result["classes"].reshape(-1).tolist(), result["map_per_class"].reshape(-1), strict=True
            ):
                if value >= 0:
                    scores[MAP.of(classes[k])] = float(value)
    sure = [{name: values[one["scores"] >= PUBLISHED_CONFIDENCE] for name, values in one.items()} for one in found]
    left = [i for i, one in enumerate(sure) if len(one["boxes"]) and len(truth[i]["boxes"])]
    scores[PUBLISHED_IMAGES] = float(len(left))
    if left:
        published = _coco([sure[i] for i in left], [truth[i] for i in left], PUBLISHED_THRESHOLDS)
        scores[PUBLISHED] = float(published["map"])
    return scores


def _coco(found: list[Boxes], truth: list[Boxes], thresholds: list[float] | None) -> dict[str, Any]:
    from torchmetrics.detection import MeanAveragePrecision

    metric = MeanAveragePrecision(iou_thresholds=thresholds, class_metrics=True, sync_on_compute=False)
    metric.warn_on_many_detections = False
    metric.update(found, truth)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return metric.compute()


def on_cpu(boxes: Boxes) -> Boxes:
    """Copies off the device."""
    return {
        name: values.detach().to("cpu", torch.int64 if name == "labels" else torch.float32)
        for name, values in boxes.items()
    }
