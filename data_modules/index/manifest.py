"""Hashes that identify the rows of an index in a result."""

import hashlib
import json
from collections.abc import Iterable

import pandas as pd

DRAWN = ("runs", "boxes", "box_labels")


def manifest_hash(frame: pd.DataFrame, label_names: list[str], passed_on: Iterable[str] = ()) -> str:
    """SHA-256 over the rows sorted by id: id, patient, study, split, text, answer, run lengths, boxes, the columns
    ``passed_on`` and labels; not where images and mask files lie, nor which further views a sample has: the samples are
    the same without them."""
    known = ("id", "patient", "study", "split", "text", "answer", "answer_type", *DRAWN)
    columns = [name for name in (*known, *sorted(passed_on)) if name in frame]
    texts = frame.sort_values("id")[columns].copy()
    for name in DRAWN:
        if name in texts:
            texts[name] = texts[name].map(json.dumps)
    texts = texts.astype("string").fillna("")
    digest = hashlib.sha256("\x1f".join([*columns, *label_names]).encode())
    for row in texts.itertuples(index=False):
        digest.update("\x1f".join(row).encode() + b"\x1e")
    digest.update(frame.sort_values("id")[label_names].to_numpy("<f4").tobytes())
    return digest.hexdigest()


def ids_sha256(ids: pd.Series) -> str:
    """SHA-256 of the sorted ids, one a line: names a training set in a result row."""
    return hashlib.sha256("\n".join(sorted(ids.astype(str))).encode()).hexdigest()
