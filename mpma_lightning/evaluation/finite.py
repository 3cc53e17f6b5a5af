"""Checks that predictions are finite before they are scored or written; NaN would otherwise be ranked in silence."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from data_modules.errors import UserError


def refuse_broken(ids: np.ndarray | Sequence[str], **columns: np.ndarray) -> None:
    """Raise UserError for a column that is not finite, with its first such sample.

    Args:
        ids: (N,).
        columns: (N, ...) predictions or features; underscores of the names become spaces.
    """
    for name, values in columns.items():
        broken = ~np.isfinite(values).reshape(len(values), -1).all(1)
        if broken.any():
            raise UserError(
                f"found {name.replace('_', ' ')} of {broken.sum():,} of {len(broken):,} rows not finite (first: "
                f"{ids[int(broken.argmax())]}), so that nothing is scored or written; the weights have "
                "diverged: take an earlier checkpoint, or fit with a lower model.optim.lr"
            )


def largest(values: Tensor) -> Tensor:
    """(B,) largest magnitude of each sample's values (B, ...); not finite if any of them is not."""
    return values.detach().flatten(1).float().abs().amax(1)
