"""The check before any ranking: a score that is not a number compares as smaller than nothing, and ranks first."""

import numpy as np

from data_modules.errors import UserError


def refuse_broken(ids: np.ndarray, **columns: np.ndarray) -> None:
    """UserError for the first column that is not finite, with its first sample.

    Args:
        ids: (N,).
        columns: (N, ...) what is scored or ranked by.
    """
    for name, values in columns.items():
        broken = ~np.isfinite(values).reshape(len(values), -1).all(1)
        if broken.any():
            raise UserError(
                f"found {name.replace('_', ' ')} of {broken.sum():,} of {len(broken):,} rows not finite (first: "
                f"{ids[broken][0]}), so that nothing can be scored; the weights have diverged: take an earlier "
                "checkpoint, or fit with a lower model.optim.lr"
            )
