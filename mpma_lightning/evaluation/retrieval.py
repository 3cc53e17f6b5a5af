"""Image–report retrieval with several positives (protocol ``ret-pairs``)."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import hypergeom


@dataclass
class Retrieval:
    """Recall at K and median rank of the best positive, and mAP over all, over the queries that have a positive."""

    recall: dict[int, float]
    median_rank: float
    queries: int
    mean_average_precision: float


def retrieval(
    query: np.ndarray,
    gallery: np.ndarray,
    query_group: np.ndarray,
    gallery_group: np.ndarray,
    ks: tuple[int, ...] = (1, 5, 10),
    chunk: int = 1024,
) -> Retrieval:
    """Rank the gallery for each query by dot product; a hit is any item of the query's group.

    Ties count against us: an item scored like the positive ranks before it.

    Args:
        query, gallery: (N, e) and (M, e), normalised.
        query_group, gallery_group: (N,) and (M,).
        ks: cut-offs.
        chunk: queries scored at once.
    """
    ranks, precisions = rank_queries(query, gallery, query_group, gallery_group, chunk)
    return summarise(ranks, precisions, ks)


def summarise(ranks: np.ndarray, precisions: np.ndarray, ks: tuple[int, ...] = (1, 5, 10)) -> Retrieval:
    """Figures over queries, which may have been ranked in several places."""
    recall = {k: float((ranks <= k).mean()) for k in ks}
    return Retrieval(recall, float(np.median(ranks)), len(ranks), float(precisions.mean()))


def rank_queries(
    query: np.ndarray, gallery: np.ndarray, query_group: np.ndarray, gallery_group: np.ndarray, chunk: int = 1024
) -> tuple[np.ndarray, np.ndarray]:
    """Rank of the best positive and average precision, for each query that has a positive; see :func:`retrieval`."""
    ranks, precisions = [np.zeros(0, int)], [np.zeros(0)]
    for start in range(0, len(query), chunk):
        scores = query[start : start + chunk] @ gallery.T
        positive = query_group[start : start + chunk, None] == gallery_group[None]
        scores, positive = scores[positive.any(1)], positive[positive.any(1)]
        best = np.where(positive, scores, -np.inf).max(1, keepdims=True)
        ranks.append(1 + ((scores >= best) & ~positive).sum(1))
        precisions.append(average_precision(scores, positive))
    return np.concatenate(ranks), np.concatenate(precisions)


def average_precision(scores: np.ndarray, positive: np.ndarray, block: int = 1024) -> np.ndarray:
    """(N,) average precision of each row: mean over its positives of (positives so far) / rank, ties against us.

    Args:
        scores, positive: (N, M); every row has a positive.
        block: positives looked at together.
    """
    others = np.where(positive, -np.inf, scores)
    rows, columns = np.nonzero(positive)
    values = scores[rows, columns]
    order = np.lexsort((-values, rows))
    rows, values = rows[order], values[order]
    counts = positive.sum(1)
    place = 1 + np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    before = np.empty(len(rows))
    for start in range(0, len(rows), block):
        part = slice(start, start + block)
        before[part] = (others[rows[part]] >= values[part, None]).sum(1)
    return np.bincount(rows, place / (place + before), len(scores)) / counts


def chance_recall(query_group: np.ndarray, gallery_group: np.ndarray, k: int) -> float:
    """Expected recall at ``k`` of a random ranking: mean of 1 − C(M − p, k) / C(M, k) over queries with p positives."""
    items = len(gallery_group)
    groups, counts = np.unique(gallery_group, return_counts=True)
    position = np.searchsorted(groups, query_group).clip(0, len(groups) - 1)
    positives = np.where(groups[position] == query_group, counts[position], 0)
    positives = positives[positives > 0]
    return float(1 - hypergeom.pmf(0, items, positives, min(k, items)).mean())
