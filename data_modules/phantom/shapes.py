"""Planted findings as boxes and mask parts: one for every connected piece that is large enough."""

import cv2
import numpy as np
from numpy.typing import NDArray

LEAST = 0.0005
"""Smallest piece, as a share of the film."""


def pieces(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Connected pieces, top to bottom; crumbs are left out unless there is nothing else."""
    count, places = cv2.connectedComponents(mask.astype(np.uint8))
    found = [places == i for i in range(1, count)]
    large = [piece for piece in found if piece.sum() >= LEAST * mask.size]
    return large or sorted(found, key=lambda piece: -int(piece.sum()))[:1]


def box_of(piece: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """x, y, width and height."""
    rows, columns = np.flatnonzero(piece.any(1)), np.flatnonzero(piece.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)
