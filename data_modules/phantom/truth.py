"""Reads the ground truth of a finished phantom: each image with its split, exact labels and findings."""

import csv
import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.errors import UserError
from data_modules.phantom.patient import decode_mask
from data_modules.phantom.plan import LABELS


@dataclass(frozen=True)
class PhantomFilm:
    """One film of a phantom.

    Attributes:
        id: DICOM id.
        split: train, validate or test; by patient.
        view: PA, AP or LATERAL.
        image: its JPEG.
        report: the text file of its study.
        labels: exact, 0 or 1; those of the study.
        findings: what this film shows: name, side, zone, size, kind, count, phrase, box [x0, y0, x1, y1), rle.
    """

    id: str
    patient: str
    study: str
    split: str
    view: str
    image: Path
    report: Path
    rows: int
    columns: int
    labels: dict[str, int]
    findings: list[dict[str, Any]]

    def mask(self, name: str) -> NDArray[np.bool_]:
        """(rows, columns): the union of the findings called ``name``."""
        union = np.zeros((self.rows, self.columns), bool)
        for finding in self.findings:
            if finding["name"] == name:
                union |= decode_mask(finding["rle"], self.rows, self.columns)
        return union


def read_films(phantom: Path) -> list[PhantomFilm]:
    """All films, in the order of their files.

    Raises:
        UserError: ``phantom`` is not a finished phantom.
    """
    marker = phantom / "phantom.json"
    if not marker.is_file() or not json.loads(marker.read_text()).get("complete"):
        raise UserError(f"{phantom}: not a finished phantom; write one with `phantom --out {phantom}`")
    with gzip.open(phantom / "mimic-cxr-jpg" / "mimic-cxr-2.0.0-split.csv.gz", "rt") as lines:
        splits = {row["dicom_id"]: row["split"] for row in csv.DictReader(lines)}
    with (phantom / "truth" / "labels.csv").open() as lines:
        labels = {row["dicom_id"]: {name: int(row[name]) for name in LABELS} for row in csv.DictReader(lines)}
    with (phantom / "truth" / "findings.jsonl").open() as lines:
        films = [_film(phantom, json.loads(line), splits, labels) for line in lines]
    return sorted(films, key=lambda film: film.image)


def _film(phantom: Path, row: dict[str, Any], splits: dict[str, str], labels: dict[str, dict[str, int]]) -> PhantomFilm:
    patient, study, name = str(row["subject_id"]), str(row["study_id"]), row["dicom_id"]
    stem = Path("files", f"p{patient[:2]}", f"p{patient}", f"s{study}")
    return PhantomFilm(
        id=name,
        patient=patient,
        study=study,
        split=splits[name],
        view=row["view"],
        image=phantom / "mimic-cxr-jpg" / stem / f"{name}.jpg",
        report=phantom / "mimic-cxr" / "mimic-cxr-reports" / stem.with_suffix(".txt"),
        rows=row["rows"],
        columns=row["columns"],
        labels=labels[name],
        findings=row["findings"],
    )
