"""Images as files or arrays, prepared as evaluation prepares them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data_modules.errors import UserError
from data_modules.images.decode import decode, resize_once, shrunk_size, with_channels
from data_modules.images.transforms import Augment, Transform

Image = str | Path | np.ndarray
"""The path of an image file, DICOM included, or uint8 pixels (H, W) or (H, W, 3)."""


def as_list(images: Image | Sequence[Image]) -> list[Image]:
    """One image or several as a list.

    Raises:
        UserError: there is none.
    """
    found = [images] if isinstance(images, str | Path | np.ndarray) else list(images)
    if not found:
        raise UserError("found no image; expected at least one")
    return found


class Preparation:
    """The preprocessing of ``test``: gray, shrunk once if the run did so, fitted to a square.

    Args:
        side: of the square.
        fit: as in :class:`data_modules.images.transforms.Augment`.
        short_side: likewise.
        channels: 1, or 3 where the data of the run had colour.
    """

    def __init__(self, side: int, fit: Any = "crop", short_side: int | None = None, channels: int = 1) -> None:
        self.side, self.fit, self.short_side, self.channels = side, fit, short_side, channels
        self._transform = Transform(side, Augment(fit=fit, short_side=short_side))

    def read(self, image: Image) -> np.ndarray:
        """uint8 (H, W) or (H, W, 3) pixels, upright.

        Raises:
            UserError: no such file, a broken one, or an array of another type or shape.
        """
        if not isinstance(image, np.ndarray):
            return with_channels(decode(image, image, self.short_side), self.channels)
        fits = image.dtype == np.uint8 and (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3))
        if not fits:
            raise UserError(
                f"found an image array of {image.dtype} with shape {image.shape}; expected uint8 of (H, W) or (H, W, 3)"
            )
        size = shrunk_size((image.shape[1], image.shape[0]), self.short_side)
        return with_channels(resize_once(image, size), self.channels)

    def crop(self, pixels: np.ndarray) -> Tensor:
        """uint8 (C, S, S) of what :meth:`read` gave."""
        return torch.from_numpy(self._transform(pixels)["image"])

    def batches(self, images: Sequence[Image], size: int) -> Iterator[Tensor]:
        """uint8 (B, C, S, S) of up to ``size`` images each."""
        for start in range(0, len(images), size):
            yield torch.stack([self.crop(self.read(image)) for image in images[start : start + size]])
