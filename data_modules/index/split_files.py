"""Split files: which sample is in which split, drawn once, patient-disjoint and stratified, named by a hash."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import pandas as pd

from data_modules.errors import UserError
from data_modules.files import write_whole
from data_modules.index.draws import draw_fraction, stratified_splits
from data_modules.index.faulty import Drop, leave_out
from data_modules.index.groups import connected_groups
from data_modules.index.listed_splits import refuse_absent
from data_modules.index.splits import SPLITS, check_disjoint, normalise_splits
from data_modules.index.tables import read_table

COLUMNS = ["id", "patient", "split"]


def write_split_file(
    rows: pd.DataFrame, label_names: Sequence[str], seed: int, out: Path, shares: Sequence[float], fraction: float = 1.0
) -> str:
    """Draw a split of all ``rows``, write it and return what it holds, with its SHA-256.

    Args:
        rows: of a data module.
        label_names: columns to stratify by.
        seed: of the draw.
        out: a new CSV table of id, patient and split: ``data.split_file``.
        shares: of train, val and test.
        fraction: share of the training studies that is kept, stratified; the others are not in the file.

    Raises:
        UserError: odd shares, or ``out`` exists.
    """
    if len(shares) != len(SPLITS) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        found = ",".join(f"{share:g}" for share in shares)
        raise UserError(f"found --shares [{found}], expected three that sum to 1, such as [0.8,0.1,0.1]")
    if out.exists():
        raise UserError(f"{out}: already exists; choose another --out, since results may name it by its hash")
    rows = rows.reset_index(drop=True)
    labels = rows[[name for name in label_names if name in rows]]
    units = connected_groups(rows, ("patient", "study"), "patient")
    rows["split"] = stratified_splits(units, labels, shares, seed)
    check_disjoint(rows)
    train = rows.index[rows["split"] == "train"]
    taken = draw_fraction(rows["study"].loc[train], labels.loc[train], fraction, seed)
    rows, labels = rows.drop(index=train[~taken]), labels.drop(index=train[~taken])
    text = rows.sort_values("id")[COLUMNS].to_csv(index=False, lineterminator="\n")
    write_whole(out, text)
    lines = [f"{out}: sha256 {sha256(text.encode()).hexdigest()}"]
    for split in SPLITS:
        own = rows[rows["split"] == split]
        positive = ", ".join(f"{name} {int((own[name] == 1).sum()):,}" for name in labels)
        patients = own["patient"].nunique()
        lines.append(f"  {split}: {len(own):,} samples, {patients:,} patients{positive and f'; {positive}'}")
    return "\n".join(lines)


def take_split_file(frame: pd.DataFrame, path: str, drop: Drop) -> pd.DataFrame:
    """``frame`` with the splits of a table of id and split; what it does not list is left out.

    Raises:
        UserError: it lists what is not in ``frame``, or an id twice.
    """
    table = read_table(Path(path), ["id", "split"])
    if table["id"].duplicated().any():
        raise UserError(f"{path}: found id {table['id'][table['id'].duplicated()].iloc[0]} twice; ids must be unique")
    if table.empty:
        raise UserError(f"{path}: found no row, expected id and split of the samples; draw the split again")
    listed = dict(zip(table["id"], normalise_splits(table["split"], table["id"]), strict=True))
    refuse_absent(listed, frame["id"], path)
    frame = frame.assign(split=frame["id"].map(listed))
    return leave_out(frame, frame["split"].isna(), "not in the split file", drop).reset_index(drop=True)
