"""From stored pixels to the input of the image encoder."""

import torch
from torch import Tensor

from mpma_lightning.backbones.importers import Normalisation


def normalised(image: Tensor, normalisation: Normalisation) -> Tensor:
    """uint8 (B, C, S, S) crops to floats with zero mean and unit variance over the data set.

    Gray becomes three channels where each has a normalisation of its own.
    """
    kind = torch.promote_types(torch.float32, torch.get_default_dtype())
    mean, std = (
        image.new_tensor(each, dtype=kind)[:, None, None] if isinstance(each, list) else each for each in normalisation
    )
    return (image.to(kind) / 255 - mean) / std


def in_three_channels(image: Tensor) -> Tensor:
    """(B, 3, S, S) of normalised crops, gray repeated."""
    return image.expand(-1, 3, -1, -1) if image.shape[1] == 1 else image
