"""Patients to leave out: the manifests of ``data.exclude``."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from data_modules.errors import UserError
from data_modules.index.hashing import short_name


def read_manifest(path: str) -> set[str]:
    """Patient ids of a manifest: a JSON list, or one id a line (# starts a comment)."""
    file = Path(path)
    if not file.is_file():
        raise UserError(f"{file}: exclusion manifest not found; expected a JSON list or one patient id a line")
    text = file.read_text(encoding="utf-8-sig").strip()
    if not text.startswith("["):
        lines = (line.split("#")[0].strip() for line in text.splitlines())
        return {line for line in lines if line}
    try:
        return {str(patient).strip() for patient in json.loads(text)}
    except ValueError as error:
        raise UserError(f"{file}: found broken JSON ({error}), expected a list of patient ids") from None


def count_excluded(frame: pd.DataFrame, manifests: list[str]) -> dict[str, int]:
    """ "file name (first 12 digits of its SHA-256)" -> how many of its patients are in ``frame``."""
    there = set(frame["patient"].dropna().astype(str))
    return {short_name(path): len(read_manifest(path) & there) for path in manifests}


def drop_excluded(frame: pd.DataFrame, manifests: list[str], drop: Callable[[str, int], None]) -> pd.DataFrame:
    """Leave out the patients of ``manifests`` and count them."""
    excluded: set[str] = set().union(*map(read_manifest, manifests))
    if not excluded:
        return frame
    keep = ~frame["patient"].astype("string").isin(list(excluded)).astype(bool)
    drop("excluded patient", int((~keep).sum()))
    return frame[keep].reset_index(drop=True)
