"""The phantom as MS-CXR-T: how findings changed between two studies in a row; the images stay in MIMIC-CXR's layout."""

import csv
import gzip
from itertools import pairwise
from pathlib import Path

from data_modules.phantom.progression import grade
from data_modules.phantom.tables import Row, write_table
from data_modules.phantom.truth import PhantomFilm

FINDINGS = ("consolidation", "edema", "pleural_effusion", "pneumonia", "pneumothorax")
KEYS = ("dicom_id", "subject_id", "study_id", "previous_dicom_id", "previous_study_id")
COLUMNS = (*KEYS, *(f"{name}_{of}" for of in ("progression", "label_quality") for name in FINDINGS))


def write(films: list[PhantomFilm], out: Path) -> None:
    """Frontal films of a patient's studies in a row, of every split, where a finding is in either of the two."""
    root = next(folder for folder in films[0].image.parents if folder.name == "mimic-cxr-jpg")
    with gzip.open(root / "mimic-cxr-2.0.0-metadata.csv.gz", "rt") as lines:
        moments = {row["dicom_id"]: (row["StudyDate"], row["StudyTime"]) for row in csv.DictReader(lines)}
    patients: dict[str, list[PhantomFilm]] = {}
    for film in (film for film in films if film.view != "LATERAL"):
        patients.setdefault(film.patient, []).append(film)
    rows: list[Row] = []
    for own in patients.values():
        for before, now in pairwise(sorted(own, key=lambda film: moments[film.id])):
            if found := {name: state for name in FINDINGS if (state := _change(name, before, now))}:
                rows.append(
                    {
                        "dicom_id": _place(now),
                        "subject_id": now.patient,
                        "study_id": now.study,
                        "previous_dicom_id": _place(before),
                        "previous_study_id": before.study,
                        **{f"{name}_progression": state for name, state in found.items()},
                        **{f"{name}_label_quality": "multiple_experts" for name in found},
                    }
                )
    write_table(out / "MS_CXR_T_temporal_image_classification_v1.0.0.csv", COLUMNS, rows)


def _change(name: str, before: PhantomFilm, now: PhantomFilm) -> str | None:
    """None where neither film shows the finding."""
    old, new = _grade(name, before), _grade(name, now)
    if not old and not new:
        return None
    return "worsening" if new > old else "improving" if new < old else "stable"


def _grade(name: str, film: PhantomFilm) -> int:
    """How much of a finding a film shows; 0: nothing. A pneumonia is also a consolidation."""
    planted, kind = ("Consolidation", "pneumonia") if name == "pneumonia" else (name.replace("_", " ").title(), None)
    shown = [f for f in film.findings if f["name"] == planted and kind in (None, f["kind"])]
    return max((grade(planted, finding["size"]) for finding in shown), default=0)


def _place(film: PhantomFilm) -> str:
    return f"p{film.patient[:2]}/p{film.patient}/s{film.study}/{film.id}"
