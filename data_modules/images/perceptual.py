"""Perceptual hashes: pictures that look the same have hashes that differ in few bits."""

import cv2
import numpy as np

BITS = 64
NEAR = 4
"""Bits in which the hashes of near-duplicates differ at most."""
_BANDS = NEAR + 1


def perceptual_hash(image: np.ndarray) -> int:
    """Signed 64-bit DCT hash of a uint8 image (H, W) or (H, W, 3): the signs of the 8 x 8 lowest frequencies of a
    32 x 32 thumbnail about their median [Zauner 2010, as in the imagehash package]."""
    gray = image if image.ndim == 2 else image.mean(axis=2)
    small = cv2.resize(gray.astype(np.float32), (32, 32), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small)[:8, :8].ravel()
    return int(np.packbits(low > np.median(low[1:])).view(">i8")[0])


def near_pairs(hashes: np.ndarray) -> np.ndarray:
    """(n, 2) rows i < j of ``hashes`` (int64) that differ in at most ``NEAR`` bits.

    Of NEAR + 1 bands of bits, one must be equal in such a pair, so that only equal bands are compared.
    """
    bits = hashes.astype(np.int64).view(np.uint64)
    width = -(-BITS // _BANDS)
    found = [np.zeros((0, 2), np.int64)]
    for band in range(_BANDS):
        keys = (bits >> np.uint64(band * width)) & np.uint64((1 << width) - 1)
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.diff(keys[order], prepend=keys[order][:1] + np.uint64(1)))
        for members in np.split(order, starts[1:]):
            for place in range(len(members) - 1):
                rest = members[place + 1 :]
                near = rest[np.bitwise_count(bits[rest] ^ bits[members[place]]) <= NEAR]
                found.append(np.sort(np.column_stack([np.full(len(near), members[place]), near]), axis=1))
    return np.unique(np.concatenate(found), axis=0)
