"""SIIM-ACR run-length masks: relative offsets, 0-based, column-major, several rows an image."""

from collections.abc import Iterable
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from data_modules.errors import UserError

EMPTY = "-1"
LONGEST = 18
"""Largest number of digits of a run length."""


def decode_runs(rows: Iterable[str], height: int, width: int, where: str) -> NDArray[np.bool_]:
    """(height, width) union of ``rows``, each ``-1`` (nothing) or pairs "offset from the last run's end, length".

    Args:
        rows: the EncodedPixels of one image.
        height, width: of the image, pixels.
        where: file and image, for the error.

    Raises:
        UserError: not whole pairs of counts, or a run that ends outside the image.
    """
    flat = np.zeros(height * width, bool)
    for row in rows:
        if row.strip() == EMPTY:
            continue
        words = row.split()
        if not words or len(words) % 2 or not all(word.isascii() and word.isdigit() for word in words):
            raise UserError(f"{where}: found run lengths {row[:40]!r}, expected -1 or pairs of offset and length")
        if longest := next((word for word in words if len(word) > LONGEST), None):
            raise UserError(f"{where}: found a run of {longest[:40]} pixels, expected at most {flat.size:,}")
        ends = list(accumulate(map(int, words)))
        if ends[-1] > flat.size:
            raise UserError(
                f"{where}: found a run that ends at pixel {ends[-1]:,}, expected at most {flat.size:,} "
                f"({width} x {height}); offsets are relative, or the image is not the one that was annotated"
            )
        for start, end in zip(ends[::2], ends[1::2], strict=True):
            flat[start:end] = True
    return flat.reshape(width, height).T


def encode_runs(mask: NDArray[np.bool_]) -> str:
    """The row ``decode_runs`` reads; ``-1`` for an empty mask."""
    if not mask.any():
        return EMPTY
    flat = np.concatenate([[False], mask.T.ravel(), [False]])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return " ".join(str(number) for number in np.diff(changes, prepend=0))
