"""Embeddings in the plane, coloured by finding."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from sklearn.manifold import TSNE

from mpma_lightning.figures.canvas import MARKS, SERIES, canvas, headline
from mpma_lightning.figures.sheet import is_single, sheet

MOST = 6
"""Findings that get a panel."""
OTHERS = "#CCCCCC"


def in_the_plane(embeddings: np.ndarray, seed: int = 0) -> np.ndarray:
    """(N, 2) of (N, D) by t-SNE, which keeps neighbours: distances between clusters and their sizes mean nothing."""
    perplexity = min(30.0, (len(embeddings) - 1) / 3)
    made = TSNE(perplexity=perplexity, init="pca", random_state=seed)
    points: np.ndarray = made.fit_transform(embeddings.astype(np.float64))
    return points


def embedding_map(points: np.ndarray, labels: np.ndarray, classes: Sequence[str], what: str) -> Figure:
    """A panel for each of the ``MOST`` most frequent findings: films that show it in colour over all others in gray.

    Args:
        points: (N, 2).
        labels: (N, classes); 1 where a film shows the finding.
        classes: names of the findings.
        what: the embeddings are, for the headline.
    """
    shown = labels == 1
    frequent = [k for k in np.argsort(-shown.sum(0), kind="stable")[:MOST] if shown[:, k].any()]
    columns = min(len(frequent), 2 if is_single() else 3)
    figure, axes = canvas(-(-len(frequent) // columns), columns, 2.9, 3.1, square=2.8)
    size = 14.0 * min(1.0, (300 / len(points)) ** 0.5)
    for k, ax, colour, mark in zip(frequent, axes.flat, SERIES, MARKS, strict=False):
        here = shown[:, k]
        ax.scatter(*points[~here].T, s=size / 2, c=OTHERS, marker="o", lw=0)
        ax.scatter(*points[here].T, s=size, c=colour, marker=mark, lw=0)
        ax.set_title(f"{classes[k]} ({int(here.sum()):,})", fontsize=sheet().text)
    headline(figure, f"{what} in the plane by t-SNE; in colour, those that show the finding",
             "neighbours are alike; distances between clusters, and their sizes, mean nothing")  # fmt: skip
    return figure
