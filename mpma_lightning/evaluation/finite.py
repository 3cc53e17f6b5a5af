"""Checks that outputs are finite before they are scored or written; otherwise NaN would be ranked silently."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from data_modules.errors import UserError

REMEDY = "the weights have diverged: use an earlier checkpoint, or fit again with a lower model.optim.lr"


def refuse_broken(ids: np.ndarray | Sequence[str], **columns: np.ndarray | Tensor) -> None:
    """Raise UserError for a column that is not finite, with its first such sample.

    Args:
        ids: (N,).
        columns: (N, ...) predictions or features; underscores of the names become spaces.
    """
    for name, values in columns.items():
        broken = (~torch.as_tensor(values).isfinite().reshape(len(values), -1).all(1)).nonzero()
        if len(broken):
            raise UserError(
                f"found {name.replace('_', ' ')} of {len(broken):,} of {len(values):,} rows not finite (first: "
                f"{ids[int(broken[0])]}), so nothing is scored or written; {REMEDY}"
            )


def refuse_broken_losses(means: Mapping[str, float], stage: str) -> None:
    """Raise UserError for a mean loss of an evaluation that is not finite; ``stage`` is val or test."""
    for name, value in means.items():
        if not math.isfinite(value):
            raise UserError(f"found {stage}/{name} {value}, expected a finite loss; {REMEDY}")


def largest(values: Tensor) -> Tensor:
    """(B,) largest magnitude of each sample's values (B, ...); not finite if any of them is not."""
    return values.detach().reshape(len(values), -1).float().abs().amax(1)
