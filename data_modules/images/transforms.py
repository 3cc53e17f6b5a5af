"""Augmentation of training images, and fitting of evaluation images."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from data_modules.errors import expect
from data_modules.images.pixel_transforms import PixelTransform, PixelTransforms
from data_modules.images.warp import DRAWS, Warp, shortest_side

MASK64 = 0xFFFFFFFFFFFFFFFF
VALUES = np.arange(256.0)


@dataclass(frozen=True)
class Augment:
    """Training augmentation, and how evaluation images are fitted to the square crop.

    Args:
        crop_scale: area of the random crop, as a fraction of the image; null: no random crop, but ``fit`` as in
            evaluation.
        flip: mirror half of the images. Off by default: reports speak of left and right.
        rotate: largest angle, degrees.
        brightness: largest change, as a share of white.
        contrast: largest change, as a share of the value.
        fit: evaluation: "crop" (shorter side to S, centre), "letterbox" (longer side to S, black bars), "stretch".
        short_side: shrink larger images to this shorter side first, as ``prepare`` does once for all; null = never.
        extra: albumentations' pixel transforms, applied in training to the crop of the image, in this order.
        zoom: largest change of the scale about the middle, as a share.
        chance: probability that an image is rotated and zoomed.
        outside: what a crop shows beyond the image: ``edge``, its border repeated, or ``black``.
    """

    crop_scale: tuple[float, float] | None = (0.6, 1.0)
    flip: bool = False
    rotate: float = 5.0
    brightness: float = 0.1
    contrast: float = 0.1
    fit: Literal["crop", "letterbox", "stretch"] = "crop"
    short_side: int | None = None
    extra: Sequence[PixelTransform] = ()
    zoom: float = 0.0
    chance: float = 1.0
    outside: Literal["edge", "black"] = "edge"


DEFAULT_AUGMENT = Augment()


class Transform:
    """uint8 image (H, W) or (H, W, 3) to a uint8 crop (C, S, S); stateless: the seed decides alone.

    Training resamples once (`Warp`), because this is what a loader spends its time on. Evaluation shrinks by averaging
    areas (INTER_AREA) and enlarges bicubically. Masks keep their values (nearest).
    """

    def __init__(self, image_size: int, augment: Augment = DEFAULT_AUGMENT, train: bool = False) -> None:
        low, high = augment.crop_scale or (1.0, 1.0)
        expect(0 < low <= high <= 1, "data.augment.crop_scale", augment.crop_scale, "0 < smallest <= largest <= 1")
        expect(0 <= augment.zoom < 1, "data.augment.zoom", augment.zoom, "0 <= zoom < 1")
        expect(0 <= augment.chance <= 1, "data.augment.chance", augment.chance, "a probability")
        self.image_size, self.augment, self.train = image_size, augment, train
        self._extra = PixelTransforms(augment.extra if train else ())
        self._fit: Any = None

    @property
    def enough(self) -> int | None:
        """The shorter side at which an image may be decoded without a crop being enlarged; None: as it is."""
        if not self.train or self.augment.short_side is not None:
            return None
        scale = self.augment.crop_scale
        side = self.image_size if scale is None else shortest_side(self.image_size, scale[0])
        return math.ceil(side * (1 + self.augment.zoom))

    def __call__(
        self, image: np.ndarray, seed: int = 0, mask: np.ndarray | None = None, boxes: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """``image`` (C, S, S); with a mask (H, W) also ``mask`` (1, S, S); with boxes (n, 4) as x1, y1, x2, y2 in
        pixels of the image also ``boxes`` (m, 4) in pixels of the crop and ``kept`` (m,), their rows."""
        if boxes is not None:
            boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        done = self._warped(image, seed, mask, boxes) if self.train else self._fitted(image, mask, boxes)
        crop = done["image"]
        out = {"image": _own(crop[None] if crop.ndim == 2 else crop.transpose(2, 0, 1))}
        if mask is not None:
            out["mask"] = _own(done["mask"][None])
        if boxes is not None:
            out["boxes"], out["kept"] = done["boxes"].astype(np.float32), done["kept"].astype(np.int64)
        return out

    def prepare(self) -> None:
        """Import what images are fitted with, once and before worker processes are forked: each would import it."""
        if not self.train and self._fit is None:
            self._fit = self._build()

    def _warped(
        self, image: np.ndarray, seed: int, mask: np.ndarray | None, boxes: np.ndarray | None
    ) -> dict[str, np.ndarray]:
        augment = self.augment
        shape = (image.shape[0], image.shape[1])
        rng = np.random.default_rng(seed & MASK64)
        draws = rng.random(DRAWS)
        light, contrast = rng.uniform(-1, 1, 2) * (augment.brightness, augment.contrast)
        zoom, moved = 1 + rng.uniform(-1, 1) * augment.zoom, rng.random() < augment.chance
        bars = augment.crop_scale is None and augment.fit == "letterbox"
        warp = Warp.random(
            draws,
            shape,
            self.image_size,
            augment.crop_scale or augment.fit,
            augment.flip,
            augment.rotate if moved else 0.0,
            zoom if moved else 1.0,
            cv2.BORDER_CONSTANT if augment.outside == "black" or bars else cv2.BORDER_REPLICATE,
        )
        done = {"image": self._extra(_lit(warp.image(image), light, contrast), seed)}
        if mask is not None:
            done["mask"] = warp.mask(mask)
        if boxes is not None:
            done["boxes"], done["kept"] = warp.boxes(boxes)
        return done

    def _fitted(self, image: np.ndarray, mask: np.ndarray | None, boxes: np.ndarray | None) -> dict[str, np.ndarray]:
        self.prepare()
        assert self._fit is not None
        given: dict[str, Any] = {"image": image}
        if mask is not None:
            given["mask"] = mask
        if boxes is not None:
            given["bboxes"] = np.column_stack([boxes, np.arange(len(boxes))])  # a fifth column rides along
        done = self._fit(**given)
        if boxes is not None:
            left = np.asarray(done["bboxes"], dtype=np.float64).reshape(-1, 5)
            done["boxes"], done["kept"] = left[:, :4], left[:, 4]
        return done

    def _build(self) -> Any:
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        import albumentations as A  # importing takes two seconds: only where images are fitted

        size = self.image_size
        resize: dict[str, Any] = {
            "interpolation": cv2.INTER_CUBIC,
            "area_for_downscale": "image",
            "mask_interpolation": cv2.INTER_NEAREST_EXACT,  # the plain nearest samples a cell's corner
        }
        steps: list[Any]
        if self.augment.fit == "crop":
            steps = [A.SmallestMaxSize(size, **resize), A.CenterCrop(size, size)]
        elif self.augment.fit == "letterbox":
            pad = A.PadIfNeeded(size, size, border_mode=cv2.BORDER_CONSTANT, fill=0, fill_mask=0)
            steps = [A.LongestMaxSize(size, **resize), pad]
        else:
            steps = [A.Resize(size, size, **resize)]
        boxes = A.BboxParams(format="pascal_voc", clip=True, min_area=1)
        return A.Compose(steps, bbox_params=boxes)


def _lit(image: np.ndarray, light: float, contrast: float) -> np.ndarray:
    """value · (1 + contrast) + 255 · light, cut to 0 … 255 [albumentations RandomBrightnessContrast]."""
    if not light and not contrast:
        return image
    values = VALUES * (1 + contrast) + 255 * light
    return cv2.LUT(image, np.rint(np.clip(values, 0, 255)).astype(np.uint8))


def _own(array: np.ndarray) -> np.ndarray:
    """Contiguous and writable, copied only where needed (an image that already fits is passed through)."""
    return np.require(array, requirements=["C", "W"])


@dataclass(frozen=True)
class Placement:
    """Where an evaluation crop lies on its image: crop = image · ``scale`` + ``shift``, each (x, y)."""

    size: tuple[int, int]
    scale: tuple[float, float]
    shift: tuple[float, float]

    @classmethod
    def of(cls, height: int, width: int, side: int, fit: str) -> "Placement":
        """Of an image of height x width fitted to side x side."""
        if fit == "stretch":
            return cls((height, width), (side / width, side / height), (0.0, 0.0))
        longest = max(height, width) if fit == "letterbox" else min(height, width)
        rows, columns = round(height * side / longest), round(width * side / longest)
        scale = (columns / width, rows / height)
        if fit == "letterbox":
            return cls((height, width), scale, (float((side - columns) // 2), float((side - rows) // 2)))
        return cls((height, width), scale, (-float((columns - side) // 2), -float((rows - side) // 2)))

    def film(self, side: int) -> tuple[slice, slice]:
        """Rows and columns of the crop of ``side`` that show the image: all but a letterbox's bars."""
        edges = [
            (max(0, round(shift)), min(side, round(shift + length * scale)))
            for length, scale, shift in zip(self.size, self.scale[::-1], self.shift[::-1], strict=True)
        ]
        rows, columns = (slice(*edge) for edge in edges)
        return rows, columns

    def mask_back(self, crop: np.ndarray) -> np.ndarray:
        """(S, S) of the crop as (H, W) of the image, nearest; 0 where the crop did not reach."""
        height, width = self.size
        x = np.floor((np.arange(width) + 0.5) * self.scale[0] + self.shift[0]).astype(int)
        y = np.floor((np.arange(height) + 0.5) * self.scale[1] + self.shift[1]).astype(int)
        inside = ((y >= 0) & (y < crop.shape[0]))[:, None] & ((x >= 0) & (x < crop.shape[1]))[None]
        found = crop[np.clip(y, 0, crop.shape[0] - 1)[:, None], np.clip(x, 0, crop.shape[1] - 1)[None]]
        return np.where(inside, found, 0).astype(crop.dtype)

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """(n, 4) corners in pixels of the image as pixels of the crop, which they may leave."""
        return boxes * np.array(self.scale * 2) + np.array(self.shift * 2)

    def boxes_back(self, boxes: np.ndarray) -> np.ndarray:
        """(n, 4) corners in pixels of the crop as pixels of the image, cut at its edges."""
        height, width = self.size
        back = (boxes - np.array(self.shift * 2)) / np.array(self.scale * 2)
        return np.clip(back, 0, [width, height, width, height])
