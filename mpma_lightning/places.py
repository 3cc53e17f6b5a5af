"""Positions of true values, without asking the device how many there are."""

import torch
from torch import Tensor


def places(mask: Tensor, count: int) -> Tensor:
    """(count,) int64 positions, ascending, of the true values of the flattened ``mask``.

    ``mask.nonzero()`` gives the same, but the program waits for the device to learn the length of the result, as with
    every index by a bool tensor. Here the caller knows it.

    Args:
        mask: bool.
        count: the number of its true values.
    """
    return mask.flatten().logical_not().to(torch.uint8).argsort(stable=True)[:count]
