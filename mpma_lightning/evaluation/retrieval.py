"""Image–report retrieval with several positives per query: recall, precision, mean average precision, ranks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import hypergeom

KS = (1, 5, 10)


@dataclass(eq=False)
class Ranking:
    """Ranks of the positives of n queries; queries without a positive are left out.

    Attributes:
        best: (n,) rank of the best positive.
        average_precision: (n,) over all positives.
        found: (n, len(ks)) number of positives among the first K.
        ks: cut-offs K.
    """

    best: np.ndarray
    average_precision: np.ndarray
    found: np.ndarray
    ks: tuple[int, ...] = KS

    @classmethod
    def join(cls, parts: "Sequence[Ranking]") -> "Ranking":
        """The queries of all parts."""
        return cls(
            np.concatenate([part.best for part in parts]),
            np.concatenate([part.average_precision for part in parts]),
            np.concatenate([part.found for part in parts]),
            parts[0].ks,
        )

    @property
    def queries(self) -> int:
        """Number of queries with a positive."""
        return len(self.best)

    @property
    def recall(self) -> dict[int, float]:
        """By K, share of queries with a positive among the first K (hit rate)."""
        return {k: float((self.best <= k).mean()) for k in self.ks}

    @property
    def precision(self) -> dict[int, float]:
        """By K, share of positives among the first K."""
        return {k: float(self.found[:, i].mean() / k) for i, k in enumerate(self.ks)}

    @property
    def median_rank(self) -> float:
        """Of the best positive."""
        return float(np.median(self.best))

    @property
    def mean_average_precision(self) -> float:
        """Mean over the queries."""
        return float(self.average_precision.mean())


def rank_queries(
    query: np.ndarray,
    gallery: np.ndarray,
    query_group: np.ndarray,
    gallery_group: np.ndarray,
    ks: tuple[int, ...] = KS,
    chunk: int = 1024,
    reorder: Callable[[np.ndarray, int], np.ndarray] | None = None,
) -> Ranking:
    """Rank the gallery by dot product for each query that has a positive; items of the query's group are positives.

    Ties count against the model: a negative with the score of a positive ranks before it.

    Args:
        query, gallery: (N, e) and (M, e), normalised.
        query_group, gallery_group: (N,) and (M,).
        ks: cut-offs.
        chunk: queries ranked at once; memory grows with ``chunk`` · M.
        reorder: from the scores (n, M) of consecutive queries and the number of the first one to new scores.
    """
    parts = [Ranking(np.zeros(0, int), np.zeros(0), np.zeros((0, len(ks)), int), ks)]
    for start in range(0, len(query), chunk):
        scores = query[start : start + chunk] @ gallery.T
        if reorder is not None:
            scores = reorder(scores, start)
        positive = query_group[start : start + chunk, None] == gallery_group[None]
        some = positive.any(1)
        if not some.all():
            scores, positive = scores[some], positive[some]
        rows, places, ranks = positive_ranks(scores, positive)
        counts = positive.sum(1)
        found = [np.bincount(rows[ranks <= k], minlength=len(scores)) for k in ks]
        average = np.bincount(rows, places / ranks, len(scores)) / counts
        parts.append(Ranking(ranks[places == 1], average, np.stack(found, 1), ks))
    return Ranking.join(parts)


def positive_ranks(
    scores: np.ndarray, positive: np.ndarray, block: int = 1024
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every positive, by row and descending score: its row, its place among the row's positives, its rank.

    Args:
        scores, positive: (N, M); every row has a positive. Ties count against the model.
        block: positives compared at once; limits memory.
    """
    others = np.where(positive, -np.inf, scores)
    rows, columns = np.nonzero(positive)
    values = scores[rows, columns]
    order = np.lexsort((-values, rows))
    rows, values = rows[order], values[order]
    counts = positive.sum(1)
    places = 1 + np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    before = np.empty(len(rows), int)
    for start in range(0, len(rows), block):
        part = slice(start, start + block)
        before[part] = (others[rows[part]] >= values[part, None]).sum(1)
    return rows, places, places + before


def chance_recall(query_group: np.ndarray, gallery_group: np.ndarray, k: int) -> float:
    """Expected recall at ``k`` of a random ranking: mean of 1 − C(M − p, k) / C(M, k) over queries with p positives."""
    items = len(gallery_group)
    groups, counts = np.unique(gallery_group, return_counts=True)
    position = np.searchsorted(groups, query_group).clip(0, len(groups) - 1)
    positives = np.where(groups[position] == query_group, counts[position], 0)
    positives = positives[positives > 0]
    return float(1 - hypergeom.pmf(0, items, positives, min(k, items)).mean())
