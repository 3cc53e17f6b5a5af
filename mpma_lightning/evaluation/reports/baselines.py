"""What a report generator has to beat: the most frequent training report, and the nearest one by retrieval."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from data_modules.index.words import normalise
from mpma_lightning.distributed import rank, world_size
from mpma_lightning.evaluation.epoch import gather_objects

CHUNK = 256
"""Texts encoded at once."""


def most_frequent(reports: Sequence[str]) -> str:
    """The report whose words occur most often; of several, the one that comes first in the alphabet."""
    counts = Counter(map(normalise, reports))
    most = max(counts.values())
    best = min(words for words, count in counts.items() if count == most)
    return next(report for report in reports if normalise(report) == best)


class NearestReports:
    """Distinct training reports with their embeddings, ranked by dot product with an image's.

    Each rank encodes its share; making one is a collective.

    Args:
        reports: of the training samples.
        encode: texts to (N, e) normalised embeddings.
    """

    def __init__(self, reports: Sequence[str], encode: Callable[[list[str]], Tensor]) -> None:
        self.reports = sorted(set(reports))
        mine = self.reports[rank() :: world_size()]
        parts = [encode(mine[start : start + CHUNK]).cpu() for start in range(0, len(mine), CHUNK)]
        everywhere = gather_objects(torch.cat(parts).numpy() if parts else None)
        self.embeddings = np.zeros(
            (len(self.reports), next(e.shape[1] for e in everywhere if e is not None)), np.float32
        )
        for place, embeddings in enumerate(everywhere):
            if embeddings is not None:
                self.embeddings[place :: world_size()] = embeddings

    def of(self, images: np.ndarray) -> list[str]:
        """The nearest report of each of (N, e) image embeddings."""
        return [self.reports[place] for place in (images.astype(np.float32) @ self.embeddings.T).argmax(1)]
