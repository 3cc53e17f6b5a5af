"""Random choices: splits of whole units (patients) and fractions of training studies, seeded, stratified by label."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from data_modules.errors import UserError
from data_modules.index.groups import connected_groups
from data_modules.index.hashing import stable_hash
from data_modules.index.splits import SPLITS

NONE = "no positive"
DRAWN = (("train", 0.8), ("val", 0.9), ("test", 1.0))
"""Upper ends of the drawn split: 80 % train, 10 % val, 10 % test."""
USUAL = (0.8, 0.1, 0.1)


def draw_splits(frame: pd.DataFrame, label_names: Sequence[str], seed: int) -> pd.Series:
    """80/10/10 of a frame as ``read_index`` gives it, by patients joined by study and text.

    Stratified by the labels and by the classes of the boxes that it has; without any, by a hash of the smallest patient
    joined (of a sample's id where the patient is blank). A patient that shares no study and no text with another then
    has the same split whatever else is in the index; one that does moves with those it is joined to.
    """
    units = connected_groups(frame, ("patient", "study", "text"), "patient")
    labels = frame[[name for name in label_names if name in frame]].copy()
    if "box_labels" in frame:
        held = frame["box_labels"].map(set)
        for place in sorted(set().union(*held)):
            labels[f"box {place}"] = held.map(lambda own, place=place: place in own)
    return random_splits(units, seed) if labels.columns.empty else stratified_splits(units, labels, USUAL, seed)


def hold_out(frame: pd.DataFrame, labels: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """``frame`` with ``share`` of its training patients in val, stratified by ``labels`` (rows by index)."""
    train = frame[frame["split"] == "train"]
    drawn = stratified_splits(train["patient"], labels.loc[train.index], (1 - share, share, 0), seed)
    return frame.assign(split=frame["split"].mask(drawn.reindex(frame.index) == "val", "val"))


def hold_out_units(splits: pd.Series, units: pd.Series, share: float, seed: int) -> tuple[pd.Series, int, int]:
    """``splits`` with ``share`` of the training units in val, the first ones in the order of a hash; how many of how
    many units these are. ``units`` are images or patients, by row."""
    train = splits == "train"
    names = pd.Series(units[train].unique())
    order = names.map(lambda name: stable_hash("held out", seed, name)).argsort(kind="stable")
    held = names.iloc[order[: max(1, round(share * len(names)))]]
    return splits.mask(train & units.isin(held), "val"), len(held), len(names)


def stratified_splits(units: pd.Series, labels: pd.DataFrame, shares: Sequence[float], seed: int) -> pd.Series:
    """train, val or test of each row: iterative stratification [Sechidis et al. 2011] of whole units.

    Units with the rarest positive class are assigned first, units without a positive class last, each group in the
    order of hash(seed, unit). A unit goes to the split that lacks most samples of that class, and, where several lack
    as many, to the one that lacks most samples. The shares of classes and samples are met to within about one unit.

    Args:
        units: (N,) what must not be divided: patients.
        labels: (N, K) 0, 1 or NaN.
        shares: of train, val and test, in samples.
        seed: of the draw.
    """
    counts = (labels == 1).assign(**{NONE: True}).groupby(units.to_numpy(), sort=True).sum()
    positive = counts.drop(columns=NONE) > 0
    turns = [*positive.sum().sort_values(kind="stable").index, NONE]
    turn = strata(positive).map({name: place for place, name in enumerate(turns)}).to_numpy(int)
    numbers = counts[turns].to_numpy(float)
    lacking = np.outer(numbers.sum(axis=0), shares)
    drawn = np.zeros(len(counts), int)
    order = np.array([stable_hash("stratified", seed, name) for name in counts.index], np.int64)
    for unit in np.lexsort((order, turn)):
        ranks = zip(lacking[turn[unit]].round(6).tolist(), lacking[-1].round(6).tolist(), (0, -1, -2), strict=True)
        drawn[unit] = -max(ranks)[2]
        lacking[:, drawn[unit]] -= numbers[unit]
    return units.map(dict(zip(counts.index, np.array(SPLITS)[drawn], strict=True)))


def random_splits(units: pd.Series, seed: int) -> pd.Series:
    """80/10/10 by a hash of the seed and of each value of ``units``, the same for a value whatever others there are."""

    def draw(unit: int) -> str:
        place = (stable_hash("split", seed, unit) % 10**9) / 10**9
        return next(name for name, end in DRAWN if place < end)

    return units.map({unit: draw(unit) for unit in units.unique()})


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
