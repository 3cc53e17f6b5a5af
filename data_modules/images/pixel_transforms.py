"""Pixel transforms of albumentations, chosen by name: further training augmentation of the image alone."""

import inspect
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from data_modules.boundary import boundary
from data_modules.errors import UserError, suggest
from data_modules.index.hashing import stable_hash

NAME = "data.augment.extra"
MASK32 = 0xFFFFFFFF


@dataclass(frozen=True)
class PixelTransform:
    """One of albumentations' pixel transforms, such as ``{name: GaussNoise, arguments: {p: 0.3}}``.

    Args:
        name: of its class.
        arguments: of its constructor, such as ``p``, the probability that it is applied.
    """

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


class PixelTransforms:
    """Applies the transforms in turn to a uint8 image (S, S) or (S, S, 3); the result depends on the seed alone.

    Raises:
        UserError: from the constructor: an unknown name, a spatial transform, or invalid arguments. From a call: the
            transform does not accept the image (some need three channels), or changes its type or shape.
    """

    def __init__(self, chosen: Sequence[PixelTransform]) -> None:
        self._steps = [_build(one) for one in chosen]

    def __call__(self, image: np.ndarray, seed: int) -> np.ndarray:
        for place, step in enumerate(self._steps):
            step.set_random_seed(stable_hash("extra", seed, place) & MASK32)
            name, kind = type(step).__name__, "gray" if image.ndim == 2 else "coloured"
            with boundary(f"{NAME}: {name} does not take a {kind} image", "leave it out, or set data.channels"):
                done = step(image=image)["image"]
            if done.dtype != np.uint8 or done.shape != image.shape:
                raise UserError(
                    f"{NAME}: {name} turned uint8 {image.shape} into {done.dtype} {done.shape}, expected uint8 of the "
                    "same shape; leave it out: the task normalises"
                )
            image = done
        return image


def _build(one: PixelTransform) -> Any:
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would ask the package index for a newer version
    import albumentations as A  # importing takes two seconds: only where it is asked for

    classes = {name: kind for name, kind in vars(A).items() if inspect.isclass(kind)}
    pixel = {name: kind for name, kind in classes.items() if A.ImageOnlyTransform in kind.__mro__[1:]}
    if issubclass(classes.get(one.name, object), A.DualTransform):
        raise UserError(
            f"{NAME}: {one.name} is a spatial transform, expected a pixel transform: masks and boxes would not move "
            "along with the image; crop, mirror and rotation are crop_scale, flip and rotate of data.augment"
        )
    if one.name not in pixel:
        raise UserError(
            f"{NAME}: found {one.name!r}, expected a pixel transform of albumentations{suggest(one.name, pixel)}"
        )
    takes = inspect.signature(pixel[one.name]).parameters
    for argument in one.arguments:
        if argument not in takes:
            raise UserError(f"{NAME}: {one.name} has no argument {argument!r}{suggest(argument, takes)}")
    with boundary(f"{NAME}: {one.name} does not take {one.arguments}", "correct its arguments"):
        return pixel[one.name](**one.arguments)
