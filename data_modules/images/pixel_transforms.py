"""albumentations' pixel transforms, asked for by name: more training augmentation, of the image alone."""

import inspect
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

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
    """The transforms one after another on a uint8 image (S, S) or (S, S, 3); the seed decides alone.

    Raises:
        UserError: on making it: an unknown name (with the nearest), a spatial transform, or odd arguments. On an image:
            the transform does not take it (some need three channels), or does not give back uint8 of that shape.
    """

    def __init__(self, chosen: Sequence[PixelTransform]) -> None:
        self._steps = [_build(one) for one in chosen]

    def __call__(self, image: np.ndarray, seed: int) -> np.ndarray:
        for place, step in enumerate(self._steps):
            step.set_random_seed(stable_hash("extra", seed, place) & MASK32)
            name = type(step).__name__
            try:
                done = step(image=image)["image"]
            except Exception as error:  # every transform has its own
                reason = " ".join(str(error).split())[:200]
                kind = "gray" if image.ndim == 2 else "coloured"
                raise UserError(
                    f"{NAME}: {name} does not take a {kind} image ({reason}); leave it out, or set data.channels"
                ) from None
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
    kind = classes.get(one.name)
    if kind is not None and issubclass(kind, A.DualTransform):
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
    try:
        return pixel[one.name](**one.arguments)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{NAME}: {one.name} does not take {one.arguments} ({reason})") from None
