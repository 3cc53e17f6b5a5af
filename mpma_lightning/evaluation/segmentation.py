"""Segmentation metrics: Dice in three versions, IoU, and baselines that do not read the image."""

import numpy as np

from mpma_lightning.evaluation.metric import Metric, reference

DICE = Metric("dice", unit="share", headline=True, per_sample="mean", baseline="dice_empty_prediction")
IOU = Metric("iou", unit="share", per_sample="mean")
DICE_POSITIVE = Metric(
    "dice_positive", unit="share", headline=True, per_sample="mean", baseline="dice_positive_mean_mask"
)
IOU_POSITIVE = Metric("iou_positive", unit="share")
DICE_EMPTY = reference("dice_empty_prediction", headline=True)
MEAN_MASK = {DICE: reference("dice_mean_mask"), DICE_POSITIVE: reference("dice_positive_mean_mask", headline=True)}
"""The same metrics for the mean training mask."""

SHARES = np.linspace(0.1, 0.9, 9)


def segmentation_scores(overlap: np.ndarray, predicted: np.ndarray, truth: np.ndarray) -> dict[Metric, float]:
    """Means over images of Dice and IoU.

    An image without the structure has a Dice of 1 if nothing is predicted, else 0 [MGCA, MRM]. ``dice`` and ``iou``
    include these images, ``dice_positive`` and ``iou_positive`` do not; ``dice_empty_prediction`` is the ``dice`` of
    empty predictions.

    Args:
        overlap, predicted, truth: (N,) numbers of pixels.
    """
    dice, iou = per_image(overlap, predicted, truth)
    positive = truth > 0
    scores = {DICE: dice.mean(), IOU: iou.mean(), DICE_EMPTY: (~positive).mean()}
    if positive.any():
        scores |= {DICE_POSITIVE: dice[positive].mean(), IOU_POSITIVE: iou[positive].mean()}
    return {metric: float(value) for metric, value in scores.items()}


def per_image(overlap: np.ndarray, predicted: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dice and IoU of each image; both 1 where prediction and truth are empty."""
    both = predicted + truth
    nothing = both == 0
    dice = np.where(nothing, 1.0, 2 * overlap / np.maximum(both, 1))
    return dice, np.where(nothing, 1.0, overlap / np.maximum(both - overlap, 1))


def mean_mask(masks: np.ndarray) -> np.ndarray:
    """bool (S, S) mask for all images: the mean of ``masks`` (N, S, S) above a share of its maximum.

    The share is the one of the best Dice over the masks that are not empty.
    """
    positive = masks[masks.any((1, 2))].astype(bool)
    if not len(positive):
        return np.zeros(masks.shape[1:], bool)
    mean = positive.mean(0)
    cuts = [mean >= share * mean.max() for share in SHARES]
    sizes = positive.sum((1, 2))
    means = [per_image((positive & cut).sum((1, 2)), np.full(len(sizes), cut.sum()), sizes)[0].mean() for cut in cuts]
    return cuts[int(np.argmax(means))]
