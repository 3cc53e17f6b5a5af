"""Keeps parts of a computation in float32 under mixed precision, such as losses over a whole batch."""

import torch
from torch import Tensor


def full(value: Tensor) -> Tensor:
    """``value`` in float32, or in float64 if it is."""
    return value if value.dtype == torch.float64 else value.float()


def full_precision(like: Tensor) -> torch.autocast:
    """Context without autocast on the device of ``like``: matrix products keep the type of their operands."""
    return torch.autocast(like.device.type, enabled=False)
