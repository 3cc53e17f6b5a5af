"""Hashes that identify the rows of an index in a result."""

import hashlib
import json
from collections.abc import Iterable

import pandas as pd

DRAWN = ("runs", "boxes", "box_labels")
VIEW_IDS = ("lateral_id", "prior_id")
"""Ids of the further views of a sample, beside the columns of ``FURTHER_VIEWS``, which say where they lie."""


def manifest_hash(frame: pd.DataFrame, label_names: list[str], passed_on: Iterable[str] = ()) -> str:
    """SHA-256 over the rows sorted by id: id, patient, study, split, text, answer, run lengths, boxes, the ids of
    further views, the columns ``passed_on`` and labels; not where images and mask files lie."""
    known = ("id", "patient", "study", "split", "text", "answer", "answer_type", *VIEW_IDS, *DRAWN)
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
