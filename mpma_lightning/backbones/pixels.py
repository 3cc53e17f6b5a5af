"""From stored pixels to the input of the image encoder."""

from functools import lru_cache

import torch
from torch import Tensor

from mpma_lightning.backbones.importers import Normalisation


def normalised(image: Tensor, normalisation: Normalisation) -> Tensor:
    """uint8 (B, C, S, S) crops to floats with zero mean and unit variance over the data set.

    Gray becomes three channels where each has a normalisation of its own.
    """
    kind = torch.promote_types(torch.float32, torch.get_default_dtype())
    mean, std = (
        _by_channel(tuple(each), kind, image.device) if isinstance(each, list) else each for each in normalisation
    )
    return (image.to(kind) / 255 - mean) / std


@lru_cache(maxsize=8)
def _by_channel(values: tuple[float, ...], kind: torch.dtype, device: torch.device) -> Tensor:
    """(C, 1, 1), copied to the device once: a copy in every step would make the step wait."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=kind, device=device)[:, None, None]


def in_three_channels(image: Tensor) -> Tensor:
    """(B, 3, S, S) of normalised crops, gray repeated."""
    return image.expand(-1, 3, -1, -1) if image.shape[1] == 1 else image
