"""What mixed precision must leave in float32: losses over a whole batch, normalisation."""

import torch
from torch import Tensor


def full(value: Tensor) -> Tensor:
    """``value`` in float32; float64 stays."""
    return value if value.dtype == torch.float64 else value.float()


def full_precision(like: Tensor) -> torch.autocast:
    """Context in which matrix products on the device of ``like`` keep the type of what they are given."""
    return torch.autocast(like.device.type, enabled=False)
