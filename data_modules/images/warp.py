"""Random crop, mirror and rotation of training as one affine map: an image is resampled once."""

from dataclasses import dataclass

import cv2
import numpy as np

cv2.setNumThreads(0)  # threads of OpenCV and forked workers do not mix

RATIO = (3 / 4, 4 / 3)
"""Aspect ratios of a random crop [torchvision RandomResizedCrop]."""
ATTEMPTS = 10
"""Draws of a crop before the largest one at the middle is taken [torchvision]."""
DRAWS = 2 * ATTEMPTS + 4
"""Numbers that :meth:`Warp.random` takes from its generator, whatever the options."""
HALVE_ABOVE = 2**0.5
"""Pixels of the image to one of the crop above which the image is halved first: the nearest level of a pyramid."""


def shortest_side(size: int, scale: float) -> float:
    """The shorter side of an image whose smallest crop, a share of ``scale``, still has ``size`` pixels a side."""
    return float(size / np.sqrt(scale * RATIO[0]))


@dataclass(frozen=True)
class Warp:
    """image = ``linear`` · crop + ``shift``: (x, y) in pixels, of which pixel i reaches from i to i + 1."""

    linear: np.ndarray
    shift: np.ndarray
    size: int
    outside: int = cv2.BORDER_REPLICATE

    @classmethod
    def random(
        cls,
        draws: np.ndarray,
        shape: tuple[int, int],
        size: int,
        scale: tuple[float, float] | str,
        flip: bool = False,
        rotate: float = 0.0,
        zoom: float = 1.0,
        outside: int = cv2.BORDER_REPLICATE,
    ) -> "Warp":
        """A crop of ``shape`` (height, width) whose share of the area is uniform in ``scale`` and whose aspect ratio
        is log-uniform in `RATIO`, turned about its middle by up to ``rotate`` degrees, enlarged ``zoom`` times, and
        with ``flip`` mirrored every other time. ``scale`` may name a fit of evaluation instead of the shares.

        Args:
            draws: `DRAWS` numbers in [0, 1).
            outside: what the crop shows beyond the image: a border type of OpenCV.
        """
        height, width = shape
        if isinstance(scale, str):
            left, top, across, down = _fitted(height, width, scale)
        else:
            left, top, across, down = _crop(draws, height, width, scale)
        turn = np.deg2rad(rotate * (2 * draws[-2] - 1))
        cosine, sine = np.cos(turn), np.sin(turn)
        mirror = -1.0 if flip and draws[-1] < 0.5 else 1.0
        linear = np.array([[cosine, -sine], [sine, cosine]]) * (mirror * across / size, down / size) / zoom
        middle = np.array([left + across / 2, top + down / 2])
        return cls(linear, middle - linear @ np.full(2, size / 2), size, outside)

    def image(self, image: np.ndarray) -> np.ndarray:
        """uint8 (H, W) or (H, W, 3) to (S, S) or (S, S, 3).

        Halved by averaging until a pixel of the crop is at most √2 of the image's, then bilinear; beyond the image its
        border goes on, so that no black wedge tells of the rotation, or it is black.
        """
        linear, shift = self.linear, self.shift
        while np.hypot(*linear).min() > HALVE_ABOVE and min(image.shape[:2]) > 1:
            height, width = image.shape[0] // 2, image.shape[1] // 2
            even = image[: 2 * height, : 2 * width]
            image = cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA)
            linear, shift = linear / 2, shift / 2
        return _sample(image, linear, shift, self.size, cv2.INTER_LINEAR, self.outside)

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """uint8 (H, W) to (S, S), nearest; 0 beyond the image."""
        return _sample(mask, self.linear, self.shift, self.size, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT)

    def boxes(self, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, 4) corners x1, y1, x2, y2 in pixels of the image to (m, 4) in pixels of the crop, and their rows (m,).

        The smallest upright box around the turned one, cut at the crop's edges; what keeps less than a pixel is left
        out.
        """
        corners = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]  # (n, 4, 2)
        moved = (corners - self.shift) @ np.linalg.inv(self.linear).T
        cut = np.clip(np.concatenate([moved.min(1), moved.max(1)], 1), 0, self.size)
        kept = np.flatnonzero(np.prod(cut[:, 2:] - cut[:, :2], axis=1) >= 1)
        return cut[kept], kept


def _crop(draws: np.ndarray, height: int, width: int, scale: tuple[float, float]) -> tuple[float, float, float, float]:
    """left, top, width, height of a crop that lies in the image."""
    areas, ratios = draws[: 2 * ATTEMPTS].reshape(2, ATTEMPTS)
    areas = height * width * (scale[0] + areas * (scale[1] - scale[0]))
    ratios = np.exp(np.log(RATIO[0]) + ratios * np.log(RATIO[1] / RATIO[0]))
    across, down = np.sqrt(areas * ratios), np.sqrt(areas / ratios)
    fits = np.flatnonzero((across <= width) & (down <= height))
    if len(fits):
        w, h = across[fits[0]], down[fits[0]]
    else:
        w, h = min(width, height * RATIO[1]), min(height, width / RATIO[0])
        return (width - w) / 2, (height - h) / 2, w, h
    x, y = draws[2 * ATTEMPTS : 2 * ATTEMPTS + 2]
    return x * (width - w), y * (height - h), w, h


def _fitted(height: int, width: int, fit: str) -> tuple[float, float, float, float]:
    """left, top, width, height of what evaluation shows; a letterbox reaches beyond the image."""
    if fit == "stretch":
        return 0.0, 0.0, float(width), float(height)
    side = float(max(height, width) if fit == "letterbox" else min(height, width))
    return (width - side) / 2, (height - side) / 2, side, side


def _sample(image: np.ndarray, linear: np.ndarray, shift: np.ndarray, size: int, how: int, border: int) -> np.ndarray:
    index = np.column_stack([linear, shift + linear @ (0.5, 0.5) - 0.5])  # of pixel middles
    return cv2.warpAffine(image, index, (size, size), flags=how | cv2.WARP_INVERSE_MAP, borderMode=border)
