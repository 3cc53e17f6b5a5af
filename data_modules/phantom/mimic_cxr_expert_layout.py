"""The phantom as MIMIC-CXR-JPG 2.1.0 with hand-labelled test studies, of which every second is in the table."""

from pathlib import Path

from data_modules.index.labels import CHEXPERT
from data_modules.mimic_cxr_expert import LABELS
from data_modules.phantom.layouts import link
from data_modules.phantom.tables import METADATA, SPLIT, Row, write_table
from data_modules.phantom.truth import PhantomFilm

SHARE = 2


def write(films: list[PhantomFilm], out: Path) -> None:
    """Test patients only; labels are exact and, as in the original, Lung Opacity is called Airspace Opacity."""
    tested = [film for film in films if film.split == "test"]
    images: list[Row] = []
    for film in tested:
        target = out / "files" / f"p{film.patient[:2]}" / f"p{film.patient}" / f"s{film.study}" / film.image.name
        link(film.image, target)
        ids: Row = {"dicom_id": film.id, "subject_id": film.patient, "study_id": film.study}
        images.append({**ids, "split": "test", "ViewPosition": film.view})
    write_table(out / "mimic-cxr-2.0.0-split.csv.gz", SPLIT, images)
    write_table(out / "mimic-cxr-2.0.0-metadata.csv.gz", METADATA, images)
    labelled = {film.study: film.labels for film in tested}
    rows: list[Row] = [
        {"study_id": study, **{_theirs(name): f"{labels[name]:.1f}" for name in CHEXPERT}}
        for place, (study, labels) in enumerate(labelled.items())
        if place % SHARE == 0
    ]
    write_table(out / f"{LABELS}.csv", ("study_id", *map(_theirs, CHEXPERT)), rows)


def _theirs(name: str) -> str:
    return "Airspace Opacity" if name == "Lung Opacity" else name
