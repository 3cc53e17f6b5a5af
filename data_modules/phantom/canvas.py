"""A drawing surface: polygons and lines in body coordinates become masks in [0, 1] with soft edges."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Mask = NDArray[np.float32]  # (rows, columns), 0..1
Points = NDArray[np.float64]  # (N, 2) body coordinates: x to the image's right, y down, the film spans about -1..1

_FRACTION = 4  # cv2 takes points in 1/16 pixels


@dataclass(frozen=True)
class Pose:
    """How the patient lies on the film: shift in body units, scale, rotation in degrees."""

    shift: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0
    degrees: float = 0.0


@dataclass
class Canvas:
    """A film of rows x columns pixels on which body coordinates are placed by a pose."""

    rows: int
    columns: int
    pose: Pose

    @property
    def unit(self) -> float:
        """Pixels per body unit."""
        return min(self.rows, self.columns) / 2 * self.pose.scale

    @cached_property
    def _affine(self) -> tuple[Points, NDArray[np.float64]]:
        angle = np.deg2rad(self.pose.degrees)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) * self.unit
        return turn, np.array([self.columns / 2, self.rows / 2]) + np.array(self.pose.shift) * self.unit

    @cached_property
    def grid(self) -> tuple[Mask, Mask]:
        """Body coordinates (x, y) of every pixel."""
        turn, centre = self._affine
        back = np.linalg.inv(turn).astype(np.float32)
        dx = np.arange(self.columns, dtype=np.float32)[None] - np.float32(centre[0])
        dy = np.arange(self.rows, dtype=np.float32)[:, None] - np.float32(centre[1])
        return dx * back[0, 0] + dy * back[1, 0], dx * back[0, 1] + dy * back[1, 1]

    def pixels(self, points: ArrayLike) -> Points:
        """(N, 2) body coordinates -> (N, 2) pixel coordinates."""
        turn, centre = self._affine
        return np.asarray(points, dtype=np.float64) @ turn + centre

    def zeros(self) -> Mask:
        """An empty mask."""
        return np.zeros((self.rows, self.columns), np.float32)

    def fill(self, points: ArrayLike, blur: float = 0.0) -> Mask:
        """The inside of a polygon; blur is the edge's sigma in body units."""
        return self._draw(lambda film, lines: cv2.fillPoly(film, lines, 255, cv2.LINE_AA, _FRACTION), [points], 0, blur)

    def stroke(self, lines: Sequence[ArrayLike], width: float, blur: float = 0.0) -> Mask:
        """Polylines of the given width and blur in body units."""
        thick = max(1, round(width * self.unit))
        return self._draw(
            lambda film, fixed: cv2.polylines(film, fixed, False, 255, thick, cv2.LINE_AA, _FRACTION),
            lines,
            thick,
            blur,
        )

    def blur(self, mask: Mask, sigma: float) -> Mask:
        """Gaussian blur with sigma in body units; a wide one is done on a smaller copy."""
        sigma *= self.unit
        if sigma < 0.3:
            return mask
        shrink = int(sigma / 1.5)
        if shrink < 2:
            return cv2.GaussianBlur(mask, (2 * round(2.5 * sigma) + 1,) * 2, sigma)  # type: ignore[return-value]
        rows, columns = mask.shape
        small = cv2.resize(mask, (-(-columns // shrink), -(-rows // shrink)), interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), sigma / shrink)
        return cv2.resize(small, (columns, rows), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]

    def texture(self, rng: np.random.Generator, cells: int) -> Mask:
        """Smooth noise with about `cells` lumps across the film, mean 0, standard deviation about 1."""
        coarse = rng.standard_normal((cells + 3, cells + 3)).astype(np.float32)
        return cv2.resize(coarse, (self.columns, self.rows), interpolation=cv2.INTER_CUBIC).astype(np.float32)

    def _draw(
        self,
        draw: Callable[[NDArray[np.uint8], list[NDArray[np.int32]]], object],
        lines: Sequence[ArrayLike],
        thick: int,
        blur: float,
    ) -> Mask:
        """Draw and blur inside the lines' bounding box only."""
        film, pixels = self.zeros(), [self.pixels(line) for line in lines]
        if not pixels:
            return film
        everything, margin = np.concatenate(pixels), thick + 2 + int(3 * blur * self.unit)
        x0, y0 = np.maximum(np.floor(everything.min(0)).astype(int) - margin, 0)
        x1, y1 = np.minimum(np.ceil(everything.max(0)).astype(int) + margin + 1, (self.columns, self.rows))
        if x1 <= x0 or y1 <= y0:
            return film
        part = np.zeros((y1 - y0, x1 - x0), np.uint8)
        draw(part, [np.round((line - (x0, y0)) * 2**_FRACTION).astype(np.int32) for line in pixels])
        film[y0:y1, x0:x1] = self.blur(part.astype(np.float32) * np.float32(1 / 255), blur)
        return film


@lru_cache(maxsize=64)
def _catmull_rom(count: int, steps: int) -> Points:
    """(count * steps, count) weights of a closed Catmull-Rom curve."""
    t = np.linspace(0, 1, steps, endpoint=False)
    parts = 0.5 * np.stack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], 1)
    weights = np.zeros((count, steps, count))
    for i in range(count):
        for k in range(4):
            weights[i, :, (i + k - 1) % count] += parts[:, k]
    return weights.reshape(-1, count)


def closed_curve(controls: ArrayLike, steps: int = 6) -> Points:
    """A closed Catmull-Rom curve through the control points; a repeated point makes a corner."""
    points = np.asarray(controls, dtype=np.float64)
    return _catmull_rom(len(points), steps) @ points


def open_curve(controls: ArrayLike, steps: int = 8) -> Points:
    """An open smooth curve through the control points."""
    points = np.asarray(controls, dtype=np.float64)
    ends = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    count = len(points) - 1
    return np.concatenate([closed_curve(ends, steps)[steps : steps * (count + 1)], points[-1:]])


def blob(rng: np.random.Generator, centre: tuple[float, float], radius: float, lumpiness: float) -> Points:
    """A closed irregular outline around a centre; lumpiness 0 is a circle."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    waves = sum(rng.normal() / k * np.cos(k * angle + rng.uniform(0, 6.28)) for k in (2, 3, 4, 5))
    r = radius * np.clip(1 + lumpiness * waves, 0.55, 1.5)
    return np.stack([centre[0] + r * np.cos(angle), centre[1] + r * np.sin(angle)], 1)
