"""Patients to leave out: the manifests of ``data.exclude``."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from data_modules.boundary import parse_json, read_text, uncommented
from data_modules.errors import UserError
from data_modules.index.hashing import short_name


def read_manifest(path: str) -> set[str]:
    """Patient ids of a manifest: a JSON list, or one id a line (# starts a comment)."""
    file = Path(path)
    if not file.is_file():
        raise UserError(f"{file}: exclusion manifest not found; expected a JSON list or one patient id a line")
    text = read_text(file).strip()
    if not text.startswith("["):
        return set(uncommented(text))
    patients = parse_json(text, str(file), "a list of patient ids", numbers_as_text=True)
    if odd := [patient for patient in patients if not isinstance(patient, str)]:
        raise UserError(f"{file}: found {odd[0]!r} in the list, expected patient ids; correct it")
    return {patient.strip() for patient in patients}


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


def refuse_idle_exclusion(frame: pd.DataFrame, path: str) -> None:
    """UserError where a manifest lists patients and none is in ``frame``: ids of another form exclude nobody."""
    listed = read_manifest(path)
    there = frame["patient"].dropna().astype(str)
    if listed and listed.isdisjoint(there):
        example = there.iloc[0] if len(there) else "none"
        raise UserError(
            f"{path}: none of its {len(listed):,} patients (first: {min(listed)}) is in the data, whose patients are "
            f"such as {example}; list one patient id a line, as the data write it"
        )
