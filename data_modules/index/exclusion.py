"""Patients to leave out: the manifests of ``data.exclude``."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from data_modules.boundary import parse_json, read_text, uncommented
from data_modules.errors import UserError
from data_modules.index.faulty import Drop, leave_out
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


def drop_excluded(
    frame: pd.DataFrame, manifests: Sequence[str], drop: Drop, counts: dict[str, int] | None = None
) -> pd.DataFrame:
    """``frame`` without the patients of ``manifests``.

    Args:
        frame: rows with a column ``patient``.
        manifests: paths, see :func:`read_manifest`.
        drop: counts the rows left out.
        counts: number of patients left out, by :func:`short_name` of the manifest. It is brought up to date. A store
            may have left out patients already; its counts are given here.

    Raises:
        UserError: a manifest lists patients and none of them is or was in the data: ids of another form exclude nobody.
    """
    counts = {} if counts is None else counts
    patients = frame["patient"].astype("string")
    there = set(patients.dropna())
    excluded: set[str] = set()
    for path in manifests:
        listed, name = read_manifest(path), short_name(path)
        counts[name] = max(len(listed & there), counts.get(name, 0))
        if listed and not counts[name]:
            example = next(iter(patients.dropna()), "none")
            raise UserError(
                f"{path}: none of its {len(listed):,} patients (first: {min(listed)}) is in the data, whose patients "
                f"are such as {example}; list one patient id a line, as the data write it"
            )
        excluded |= listed
    if not excluded:
        return frame
    return leave_out(frame, patients.isin(list(excluded)), "excluded patient", drop).reset_index(drop=True)
