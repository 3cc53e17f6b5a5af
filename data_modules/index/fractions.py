"""Label fractions: which training studies a 1 % or 10 % run may see; deterministic, stratified, recorded."""

import hashlib

import numpy as np
import pandas as pd

from data_modules.errors import UserError
from data_modules.index.hashing import stable_hash

NONE = "no positive"


def draw_fraction(studies: pd.Series, labels: pd.DataFrame, fraction: float, seed: int) -> np.ndarray:
    """bool (N,): the rows in the fraction.

    Whole studies are drawn. A study's stratum is its rarest positive class, so that rare classes keep their share; of
    each stratum the first ones in the order of hash(seed, study) are taken, so a smaller fraction lies in a larger one,
    and at least one study, so that no class disappears.

    Args:
        studies: (N,) study of each row.
        labels: (N, K) 0, 1 or NaN; without columns there is one stratum.
        fraction: in (0, 1].
        seed: of the draw.
    """
    if not 0 < fraction <= 1:
        raise UserError(f"found data.label_fraction {fraction:g}, expected a share above 0 and up to 1, such as 0.01")
    if fraction == 1:
        return np.ones(len(studies), bool)
    positive = (labels == 1).groupby(studies.to_numpy(), sort=True).any()
    stratum = strata(positive)
    order = pd.Series([stable_hash("fraction", seed, study) for study in positive.index], index=positive.index)
    rank = order.groupby(stratum).rank(method="first")
    quota = (stratum.value_counts() * fraction).round().clip(lower=1)
    chosen = positive.index[rank <= stratum.map(quota)]
    return studies.isin(chosen).to_numpy()


def strata(positive: pd.DataFrame) -> pd.Series:
    """The rarest positive class of each row; ``no positive`` where there is none. ``positive`` is bool (N, K)."""
    stratum = pd.Series(NONE, index=positive.index)
    for name in reversed(positive.sum().sort_values(kind="stable").index):
        stratum = stratum.mask(positive[name], name)
    return stratum


def ids_sha256(ids: pd.Series) -> str:
    """SHA-256 of the sorted ids, one a line: names a training set in a result row."""
    return hashlib.sha256("\n".join(sorted(ids.astype(str))).encode()).hexdigest()
