"""Leakage: patients, studies and pictures that are in two splits, or in a pre-training store and in a test set."""

from pathlib import Path

import numpy as np
import pandas as pd

from data_modules.checks.result import CheckResult
from data_modules.errors import UserError
from data_modules.images.perceptual import near_pairs
from data_modules.images.source import stored_rows
from data_modules.store.store import Store, open_store


def check_splits(frame: pd.DataFrame, result: CheckResult) -> None:
    """A patient, study or image file in two splits is an error; an equal text in two splits is told."""
    for key in ("patient", "study", "image"):
        if key in frame:
            advice = "results on the later split are not of unseen cases; split by patient"
            result.found("error", f"{key} in two splits", _across(frame, key), advice)
    if "text" in frame:
        told = frame[frame["text"].fillna("") != ""]
        several = told.groupby("text")["study"].nunique()
        repeated = told[told["text"].isin(several.index[several > 1])]
        if len(repeated):
            shared = repeated.groupby("text")["split"].nunique()
            result.add(
                "info",
                "repeated text",
                f"{repeated['text'].nunique():,} texts are those of several studies ({len(repeated):,} samples); "
                f"{int((shared > 1).sum()):,} of them are in two splits: retrieval must count them as one",
            )


def check_against(frame: pd.DataFrame, files: pd.DataFrame, folder: Path, result: CheckResult) -> set[str]:
    """Add what ``frame`` shares with a prepared pre-training store; returns the patients of the store to exclude.

    Patients and studies are compared by name where the sets share names (MIMIC-CXR and what is made of it), pictures
    by SHA-256 and by perceptual hash.
    """
    store = open_store(folder)
    if store is None:
        raise UserError(f"{folder}: found no prepared store, expected the folder that `prepare` wrote")
    rows = store.rows()
    rows = rows[rows["split"] == "train"] if "split" in rows else rows
    tested = frame[frame["split"] != "train"]
    exclude: set[str] = set()
    for key in ("patient", "study"):
        shared = sorted(set(tested[key].dropna()) & set(rows[key].dropna()))
        result.found("error", f"{key} also in pre-training", shared, f"exclude them from {folder} (--exclude_to FILE)")
        exclude |= set(rows.loc[rows[key].isin(shared), "patient"])
    if "image" in rows:
        exclude |= _shared_pictures(files[files["split"] != "train"], store, rows, result)
    return exclude


def _shared_pictures(files: pd.DataFrame, store: Store, rows: pd.DataFrame, result: CheckResult) -> set[str]:
    numbers = stored_rows(rows["image"])
    images = store.images().iloc[numbers].assign(patient=rows["patient"].to_numpy()).dropna(subset="phash")
    equal = files.merge(images, on="sha256", suffixes=("", "_store"))
    listed = (equal["file"] + " = " + equal["file_store"]).drop_duplicates()
    result.found("error", "image also in pre-training (byte-identical)", listed, "exclude its patient there")
    seen = files[files["phash"].notna() & ~files["file"].isin(equal["file"])]
    hashes = np.concatenate([seen["phash"].to_numpy(np.int64), images["phash"].to_numpy(np.int64)])
    pairs = near_pairs(hashes)
    pairs = pairs[(pairs[:, 0] < len(seen)) & (pairs[:, 1] >= len(seen))]
    near = [(seen.iloc[i]["file"], images.iloc[j - len(seen)]) for i, j in pairs]
    result.found(
        "warning",
        "picture perhaps also in pre-training (near-duplicate)",
        sorted({f"{file} ~ {row['file']}" for file, row in near}),
        "look at them; their patients are in the file of --exclude_to",
    )
    return set(equal["patient_store"]) | {str(row["patient"]) for _, row in near}


def _across(frame: pd.DataFrame, key: str) -> list[str]:
    splits = frame[[key, "split"]].dropna().drop_duplicates().groupby(key)["split"].agg(sorted)
    return [f"{name}: {' and '.join(found)}" for name, found in splits.items() if len(found) > 1]
