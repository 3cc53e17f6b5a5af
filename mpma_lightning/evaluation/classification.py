"""Classification scores: AUROC, average precision and F1 by class, accuracy of exclusive classes, and intervals."""

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve, roc_auc_score

from data_modules.errors import UserError
from mpma_lightning.evaluation.zero_shot import macro


def classification_scores(
    labels: np.ndarray, scores: np.ndarray, classes: list[str], thresholds: np.ndarray | None = None
) -> dict[str, float]:
    """``auroc``, ``ap`` (and with thresholds ``f1``): macro, and ``<metric>/<class>``.

    Only known labels count. A class without a positive or without a negative has none of the three, and is not in the
    macro means; ``classes_scored`` is how many have.

    Args:
        labels: (N, K) 0, 1 or NaN.
        scores: (N, K), higher is likelier.
        classes: K names.
        thresholds: (K,) a score at or above it is a positive.
    """
    by_class: dict[str, dict[str, float]] = {name: {} for name in ("auroc", "ap", "f1")}
    for k, name in enumerate(classes):
        known = ~np.isnan(labels[:, k])
        truth, score = labels[known, k], scores[known, k]
        if not 0 < truth.sum() < len(truth):
            continue
        by_class["auroc"][name] = float(roc_auc_score(truth, score))
        by_class["ap"][name] = float(average_precision_score(truth, score))
        if thresholds is not None:
            by_class["f1"][name] = float(f1_score(truth, score >= thresholds[k], zero_division=0.0))
    result = {"classes_scored": float(len(by_class["auroc"]))}
    for metric, values in by_class.items():
        if values:
            result[metric] = macro(values)
        result |= {f"{metric}/{name}": value for name, value in values.items()}
    return result


def best_thresholds(labels: np.ndarray, scores: np.ndarray, default: float) -> np.ndarray:
    """(K,) the score of each class that gives the best F1 on these (validation) samples; ``default`` without both."""
    thresholds = np.full(labels.shape[1], default, dtype=np.float64)
    for k in range(labels.shape[1]):
        known = ~np.isnan(labels[:, k])
        truth, score = labels[known, k], scores[known, k]
        if 0 < truth.sum() < len(truth):
            precision, recall, values = precision_recall_curve(truth, score)
            f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
            thresholds[k] = values[f1[:-1].argmax()]
    return thresholds


def exclusive_scores(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """``accuracy`` and macro ``f1_likeliest`` of the likeliest class, over the rows with exactly one positive.

    F1 is averaged over the classes that occur.
    """
    certain = np.nan_to_num(labels).sum(1) == 1
    if not certain.any():
        return {}
    truth, said = np.nan_to_num(labels[certain]).argmax(1), scores[certain].argmax(1)
    f1 = f1_score(truth, said, labels=np.unique(truth), average="macro", zero_division=0.0)
    return {"accuracy": float((truth == said).mean()), "f1_likeliest": float(f1)}


def one_class_each(ids: np.ndarray, labels: np.ndarray, classes: list[str], wanted: list[str]) -> np.ndarray:
    """(N, len(wanted)) labels of ``wanted``, of which every sample has exactly one.

    Args:
        ids: (N,).
        labels: (N, K) 0, 1 or NaN.
        classes: K names.
        wanted: ``model.multiclass``.

    Raises:
        UserError: a sample has none or several.
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
    """95 % bootstrap interval of the macro AUROC; units (patients) are drawn, with all their rows.

    A class counts in a draw when the draw holds both of its values.

    Args:
        labels, scores: (N, K) as above.
        unit: (N,) patient of each row.
        draws: bootstrap draws.
        seed: of the draws.
    """
    units, place = np.unique(unit, return_inverse=True)
    rng = np.random.default_rng(seed)
    values = np.full((draws, labels.shape[1]), np.nan)
    prepared = [prepare_ranks(labels[:, k], scores[:, k]) for k in range(labels.shape[1])]
    for d in range(draws):
        weight = np.bincount(rng.integers(0, len(units), len(units)), minlength=len(units))[place]
        for k, (known, truth, rank) in enumerate(prepared):
            values[d, k] = weighted_auroc(truth, rank, weight[known])
    scored = ~np.isnan(values).all(1)
    if not scored.any():
        return float("nan"), float("nan")
    low, high = np.percentile(np.nanmean(values[scored], 1), [2.5, 97.5])
    return float(low), float(high)


def sample_scores(
    rows: dict[str, np.ndarray], labels: np.ndarray, classes: list[str], scores: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Columns of ``Task.samples``: ids, patients, labels and each metric's scores.

    Args:
        rows: with ``id`` and ``patient``.
        labels: (N, K).
        classes: K names.
        scores: metric, such as ``global/auroc``, to (N, K).
    """
    columns = {"id": rows["id"].astype(str), "patient": rows["patient"].astype(str)}
    columns |= {f"label/{name}": labels[:, k] for k, name in enumerate(classes)}
    return columns | {
        f"{metric}@{name}": values[:, k] for metric, values in scores.items() for k, name in enumerate(classes)
    }


def prepare_ranks(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows with a label, whether positive, and the dense rank of the score."""
    known = np.flatnonzero(~np.isnan(labels))
    rank = rankdata(scores[known], method="dense").astype(np.int64) - 1
    return known, labels[known] == 1, rank


def weighted_auroc(truth: np.ndarray, rank: np.ndarray, weight: np.ndarray) -> float:
    """Share of (positive, negative) pairs in the right order, ties half, each row counted ``weight`` times."""
    if not len(rank):
        return float("nan")
    size = int(rank.max()) + 1
    positive = np.bincount(rank, weight * truth, size)
    negative = np.bincount(rank, weight * ~truth, size)
    pairs = positive.sum() * negative.sum()
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / pairs) if pairs else float("nan")
