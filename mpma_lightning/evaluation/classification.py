"""Classification scores: AUROC, average precision and F1 by class, accuracy of exclusive classes, and intervals."""

from collections.abc import Callable, Iterator

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve, roc_auc_score

from data_modules.errors import UserError
from mpma_lightning.evaluation.bootstrap import bootstrap, interval_of
from mpma_lightning.evaluation.metric import Metric, count

AUROC = Metric("auroc", unit="share", headline=True, per_sample="auroc", baseline=0.5)
AUROC_CORE = Metric("auroc_core", unit="share", headline=True, baseline=0.5)
AP = Metric("ap", unit="share")
F1 = Metric("f1", unit="share")
ACCURACY = Metric("accuracy", unit="share", headline=True)
F1_LIKELIEST = Metric("f1_likeliest", unit="share")
CLASSES_SCORED = count("classes_scored")
Ranks = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Of one class: see :func:`prepare_ranks`."""


def classification_scores(
    labels: np.ndarray, scores: np.ndarray, classes: list[str], thresholds: np.ndarray | None = None
) -> dict[Metric, float]:
    """``auroc``, ``ap`` (and with thresholds ``f1``): macro, and ``<metric>/<class>``.

    Only known labels count. A class without a positive or without a negative is not scored and is left out of the macro
    means; ``classes_scored`` is the number of scored classes.

    Args:
        labels: (N, K) 0, 1 or NaN.
        scores: (N, K), higher is likelier.
        classes: K names.
        thresholds: (K,) scores at or above them are positive predictions.
    """
    by_class: dict[Metric, dict[str, float]] = {metric: {} for metric in (AUROC, AP, F1)}
    for k, truth, score in _scorable(labels, scores):
        name = classes[k]
        by_class[AUROC][name] = float(roc_auc_score(truth, score))
        by_class[AP][name] = float(average_precision_score(truth, score))
        if thresholds is not None:
            by_class[F1][name] = float(f1_score(truth, score >= thresholds[k], zero_division=0.0))
    result = {CLASSES_SCORED: float(len(by_class[AUROC]))}
    for metric, values in by_class.items():
        if values:
            result[metric] = macro(values)
        result |= {metric.of(name): value for name, value in values.items()}
    return result


def auroc_by_class(labels: np.ndarray, scores: np.ndarray, classes: list[str]) -> dict[str, float]:
    """AUROC of every class that has both a positive and a negative; NaN labels are left out.

    Args:
        labels: (N, K) 0, 1 or NaN.
        scores: (N, K).
    """
    return {classes[k]: float(roc_auc_score(truth, score)) for k, truth, score in _scorable(labels, scores)}


def _scorable(labels: np.ndarray, scores: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Column, known labels and their scores of each class that has positives and negatives."""
    for k in range(labels.shape[1]):
        known = ~np.isnan(labels[:, k])
        truth = labels[known, k]
        if 0 < truth.sum() < len(truth):
            yield k, truth, scores[known, k]


def macro(values: dict[str, float]) -> float:
    """Mean over classes; NaN without any."""
    return float(np.mean(list(values.values()))) if values else float("nan")


def best_thresholds(labels: np.ndarray, scores: np.ndarray, default: float) -> np.ndarray:
    """(K,) thresholds of the best F1 on these samples; ``default`` for a class without positives or negatives."""
    thresholds = np.full(labels.shape[1], default, dtype=np.float64)
    for k, truth, score in _scorable(labels, scores):
        precision, recall, values = precision_recall_curve(truth, score)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        thresholds[k] = values[f1[:-1].argmax()]
    return thresholds


def exclusive_scores(labels: np.ndarray, scores: np.ndarray) -> dict[Metric, float]:
    """``accuracy`` and ``f1_likeliest`` of the class with the highest score, over rows with exactly one positive.

    F1 is the macro mean over the classes that occur.
    """
    certain = np.nan_to_num(labels).sum(1) == 1
    if not certain.any():
        return {}
    truth, predicted = np.nan_to_num(labels[certain]).argmax(1), scores[certain].argmax(1)
    f1 = f1_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0.0)
    return {ACCURACY: float((truth == predicted).mean()), F1_LIKELIEST: float(f1)}


def one_class_each(ids: np.ndarray, labels: np.ndarray, classes: list[str], wanted: list[str]) -> np.ndarray:
    """(N, len(wanted)) labels of classes of which every sample has exactly one.

    Args:
        ids: (N,).
        labels: (N, K) 0, 1 or NaN.
        classes: K names.
        wanted: ``model.multiclass``.

    Raises:
        UserError: a sample has none or several of them.
    """
    chosen = np.nan_to_num(labels[:, [classes.index(name) for name in wanted]])
    positives = chosen.sum(1)
    if (positives != 1).any():
        place = int(np.flatnonzero(positives != 1)[0])
        raise UserError(
            f"sample {ids[place]} has {positives[place]:.0f} of {', '.join(wanted)} ({(positives != 1).sum()} such "
            "samples), model.multiclass expects exactly one; evaluate a list of such samples (data.pinned)"
        )
    return chosen


def auroc_interval(
    labels: np.ndarray, scores: np.ndarray, unit: np.ndarray, draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of the macro AUROC over patients.

    A class counts in a draw that has positives and negatives of it.

    Args:
        labels, scores: (N, K) as above.
        unit: (N,) names of patients.
        draws: bootstrap draws.
        seed: of the draws.
    """
    macro_auroc = weighted_macro_auroc([[prepare_ranks(*columns) for columns in zip(labels.T, scores.T, strict=True)]])
    return interval_of(bootstrap(unit, lambda draw: macro_auroc(draw.weight), draws, seed))


def weighted_macro_auroc(heads: list[list[Ranks]]) -> Callable[[np.ndarray], float]:
    """Macro AUROC, mean over heads, as a function of (N,) weights of the samples; NaN if no class can be scored.

    Args:
        heads: of each head, :func:`prepare_ranks` of each class.
    """

    def macro(weight: np.ndarray) -> float:
        means = [[weighted_auroc(truth, rank, weight[known]) for known, truth, rank in classes] for classes in heads]
        scored = [np.nanmean(values) for values in means if not np.isnan(values).all()]
        return float(np.mean(scored)) if scored else float("nan")

    return macro


def prepare_ranks(labels: np.ndarray, scores: np.ndarray) -> Ranks:
    """Indices of the rows with a label, whether they are positive, and the dense rank of their scores."""
    known = np.flatnonzero(~np.isnan(labels))
    rank = rankdata(scores[known], method="dense").astype(np.int64) - 1
    return known, labels[known] == 1, rank


def weighted_auroc(truth: np.ndarray, rank: np.ndarray, weight: np.ndarray) -> float:
    """Share of (positive, negative) pairs in the right order, ties as half; each row counts ``weight`` times."""
    if not len(rank):
        return float("nan")
    size = int(rank.max()) + 1
    positive = np.bincount(rank, weight * truth, size)
    negative = np.bincount(rank, weight * ~truth, size)
    pairs = positive.sum() * negative.sum()
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / pairs) if pairs else float("nan")
