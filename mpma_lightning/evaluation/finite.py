"""The check before anything is scored or written: a prediction that is not a number thresholds, ranks and rounds to an
ordinary one."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from data_modules.errors import UserError


def refuse_broken(ids: np.ndarray | Sequence[str], **columns: np.ndarray) -> None:
    """UserError for the first column that is not finite, with its first sample.

    Args:
        ids: (N,).
        columns: (N, ...) what is predicted, scored or ranked by.
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
    """(B,) largest magnitude of each sample's values (B, ...), at least 0; not finite where any of them is not."""
    return values.detach().flatten(1).float().abs().amax(1)
