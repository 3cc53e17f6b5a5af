"""Split files: which sample is in which split, drawn once, patient-disjoint and stratified, named by a hash."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd

from data_modules.base import SPLITS, DataModule
from data_modules.fractions import draw_fraction, strata
from data_modules.groups import connected_groups
from data_modules.hashing import stable_hash
from data_modules.splits import check_disjoint
from mpma_lightning.errors import UserError

COLUMNS = ["id", "patient", "split"]


def write_split_file(data: DataModule, out: Path, shares: Sequence[float], fraction: float = 1.0) -> str:
    """Draw a split of all rows of ``data`` by its seed, write it and return what it holds, with its SHA-256.

    Args:
        data: its arguments choose the rows.
        out: a new CSV table of id, patient and split: ``data.split_file``.
        shares: of train, val and test.
        fraction: share of the training studies that is kept, stratified; the others are not in the file.

    Raises:
        UserError: what reading ``data`` raises; odd shares; ``out`` exists.
    """
    if len(shares) != len(SPLITS) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        found = ",".join(f"{share:g}" for share in shares)
        raise UserError(f"found --shares [{found}], expected three that sum to 1, such as [0.8,0.1,0.1]")
    if out.exists():
        raise UserError(f"{out}: already exists; choose another --out, since results may name it by its hash")
    rows = data.rows().reset_index(drop=True)
    labels = rows[[name for name in data.label_names if name in rows]]
    rows["split"] = stratified_splits(connected_groups(rows, ("patient", "study")), labels, shares, data.seed)
    check_disjoint(rows)
    train = rows.index[rows["split"] == "train"]
    taken = draw_fraction(rows["study"].loc[train], labels.loc[train], fraction, data.seed)
    rows, labels = rows.drop(index=train[~taken]), labels.drop(index=train[~taken])
    text = rows.sort_values("id")[COLUMNS].to_csv(index=False, lineterminator="\n")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    lines = [f"{out}: sha256 {sha256(text.encode()).hexdigest()}"]
    for split in SPLITS:
        own = rows[rows["split"] == split]
        positive = ", ".join(f"{name} {int((own[name] == 1).sum()):,}" for name in labels)
        patients = own["patient"].nunique()
        lines.append(f"  {split}: {len(own):,} samples, {patients:,} patients{positive and f'; {positive}'}")
    return "\n".join(lines)


def stratified_splits(units: pd.Series, labels: pd.DataFrame, shares: Sequence[float], seed: int) -> pd.Series:
    """train, val or test of each row; whole units, in an order by hash(seed, unit), up to each share of its stratum.

    Args:
        units: (N,) what must not be divided: patients.
        labels: (N, K) 0, 1 or NaN; a unit's stratum is its rarest positive class.
        shares: of train, val and test, in samples.
        seed: of the draw.
    """
    positive = (labels == 1).groupby(units.to_numpy(), sort=True).any()
    table = pd.DataFrame({"stratum": strata(positive), "size": units.value_counts()}, index=positive.index)
    table["order"] = [stable_hash("stratified", seed, unit) for unit in table.index]
    table = table.sort_values("order", kind="stable")
    sizes = table.groupby("stratum", sort=False)["size"]
    middle = (sizes.cumsum() - table["size"] / 2) / sizes.transform("sum")
    ends = np.cumsum(shares)[:2]
    drawn = pd.Series(np.array(SPLITS)[np.searchsorted(ends, middle, side="right")], index=table.index)
    return units.map(drawn)
