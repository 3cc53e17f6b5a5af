"""The phantom as CheXpert-v1.0-small: train.csv with report labels, valid.csv with exact ones, a pinned list."""

import csv
import gzip
from collections import defaultdict
from pathlib import Path

from data_modules.chexpert import COMPETITION
from data_modules.phantom.layouts import link
from data_modules.phantom.tables import Row, write_table
from data_modules.phantom.truth import PhantomFilm

LABELS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)  # CheXpert's order, not MIMIC-CXR's
COLUMNS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *LABELS)
PER_CLASS = 200
ROOT = "CheXpert-v1.0-small"


def write(films: list[PhantomFilm], out: Path) -> None:
    """``train/`` holds training and validation patients, ``valid/`` the test ones.

    ``chexpert_5x200.csv`` lists frontal ``valid`` images with exactly one of the five competition classes, as many of
    each as the rarest has (200 at most).
    """
    reported = _report_labels(films)
    numbers = {patient: i for i, patient in enumerate(sorted({film.patient for film in films}), start=1)}
    studies: dict[str, list[str]] = defaultdict(list)
    views: dict[str, int] = defaultdict(int)
    rows: dict[str, list[Row]] = {"train": [], "valid": []}
    for film in films:
        if film.study not in studies[film.patient]:
            studies[film.patient].append(film.study)
        views[film.study] += 1
        split = "valid" if film.split == "test" else "train"
        side = "lateral" if film.view == "LATERAL" else "frontal"
        study = studies[film.patient].index(film.study) + 1
        name = f"{split}/patient{numbers[film.patient]:05d}/study{study}/view{views[film.study]}_{side}.jpg"
        link(film.image, out / name)
        row: Row = {"Path": f"{ROOT}/{name}", "Sex": "Unknown", "Age": 0, "Frontal/Lateral": side.capitalize()}
        row["AP/PA"] = "" if side == "lateral" else film.view
        labels = reported[film.study] if split == "train" else {k: f"{v:.1f}" for k, v in film.labels.items()}
        rows[split].append({**row, **labels})
    for split, table in rows.items():
        write_table(out / f"{split}.csv", COLUMNS, table)
    write_table(out / "chexpert_5x200.csv", ("Path", *LABELS), _pinned(rows["valid"]))


def _report_labels(films: list[PhantomFilm]) -> dict[str, dict[str, str]]:
    """By study: 1.0, 0.0, -1.0 or blank, as the labeller read them from the report."""
    root = next(folder for folder in films[0].image.parents if folder.name == "mimic-cxr-jpg")
    with gzip.open(root / "mimic-cxr-2.0.0-chexpert.csv.gz", "rt") as lines:
        return {row["study_id"]: {name: row[name] for name in LABELS} for row in csv.DictReader(lines)}


def _pinned(rows: list[Row]) -> list[Row]:
    only: dict[str, list[Row]] = {name: [] for name in COMPETITION}
    for row in rows:
        positive = [name for name in COMPETITION if row[name] == "1.0"]
        if len(positive) == 1 and row["Frontal/Lateral"] == "Frontal":
            only[positive[0]].append(row)
    each = min([PER_CLASS, *(len(found) for found in only.values() if found)])
    return [row for found in only.values() for row in found[:each]]
