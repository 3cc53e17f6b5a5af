"""Rerank: the first k items of dual retrieval, in both directions, are sorted by dual + α · match."""

from dataclasses import dataclass

import numpy as np

ALPHAS = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
BELOW = 1e6
"""Subtracted from the scores of items outside the shortlist, which keep their order."""


def shortlists(query: np.ndarray, gallery: np.ndarray, k: int, chunk: int = 1024) -> np.ndarray:
    """(N, k) gallery items of the k largest dot products with each query, best first; k is at most M."""
    k = min(k, len(gallery))
    parts = [np.zeros((0, k), int)]
    for start in range(0, len(query), chunk):
        scores = query[start : start + chunk] @ gallery.T
        chosen = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, chosen, 1), axis=1, kind="stable")
        parts.append(np.take_along_axis(chosen, order, 1))
    return np.concatenate(parts)


def union_of_pairs(image_lists: np.ndarray, text_lists: np.ndarray) -> np.ndarray:
    """(P, 2) distinct pairs of image and text on any shortlist, sorted; P ≤ 2 N k.

    Args:
        image_lists: (N, k) texts shortlisted for each image.
        text_lists: (M, k) images shortlisted for each text.
    """
    forth = np.stack([np.repeat(np.arange(len(image_lists)), image_lists.shape[1]), image_lists.ravel()], 1)
    back = np.stack([text_lists.ravel(), np.repeat(np.arange(len(text_lists)), text_lists.shape[1])], 1)
    return np.unique(np.concatenate([forth, back]), axis=0)


class MatchScores:
    """Match scores by pair.

    Args:
        pairs: (P, 2) of :func:`union_of_pairs`, in any order.
        scores: (P,).
    """

    def __init__(self, pairs: np.ndarray, scores: np.ndarray) -> None:
        self._texts = int(pairs[:, 1].max()) + 1
        codes = pairs[:, 0] * self._texts + pairs[:, 1]
        order = np.argsort(codes)
        self._codes, self._scores = codes[order], scores[order]

    def of(self, images: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """Scores of pairs that were scored; ``images`` and ``texts`` broadcast."""
        codes = images * self._texts + texts
        places = np.searchsorted(self._codes, codes)
        if (places == len(self._codes)).any() or (self._codes[places] != codes).any():
            raise KeyError("a pair that is on no shortlist was not scored")
        return self._scores[places]


@dataclass
class Shortlist:
    """Sorts the shortlisted items of each query by dual + α · match; the others follow in their old order.

    Attributes:
        columns: (N, k) gallery items.
        match: (N, k) their match scores.
        alpha: α.
    """

    columns: np.ndarray
    match: np.ndarray
    alpha: float = 0.0

    def of(self, queries: slice) -> "Shortlist":
        """The shortlist of some of the queries."""
        return Shortlist(self.columns[queries], self.match[queries], self.alpha)

    def __call__(self, scores: np.ndarray, start: int) -> np.ndarray:
        rows = slice(start, start + len(scores))
        columns = self.columns[rows]
        head = np.take_along_axis(scores, columns, 1) + self.alpha * self.match[rows].astype(np.float64)
        moved = scores.astype(np.float64) - BELOW
        np.put_along_axis(moved, columns, head, 1)
        return moved


def best_alpha(quality: dict[float, float]) -> float:
    """The α of highest quality; the smallest of equal ones."""
    return max(sorted(quality), key=lambda alpha: quality[alpha])
