"""The phantom as CheXpert's test set: `groundtruth.csv`, one row a study with exact labels, and `test/`."""

from pathlib import Path

from data_modules.phantom.chexpert_layout import LABELS
from data_modules.phantom.layouts import link
from data_modules.phantom.tables import Row, write_table
from data_modules.phantom.truth import PhantomFilm

ROOT = "CheXpert-v1.0"
FIRST = 64741


def write(films: list[PhantomFilm], out: Path) -> None:
    """The first study of every test patient, frontal view first, as the original numbers its views."""
    studies: dict[str, list[PhantomFilm]] = {}
    for film in films:
        if film.split == "test":
            studies.setdefault(film.patient, []).append(film)
    rows: list[Row] = []
    for number, own in enumerate(studies.values(), start=FIRST):
        views = sorted((film for film in own if film.study == own[0].study), key=lambda film: film.view == "LATERAL")
        name = f"test/patient{number}/study1"
        for place, film in enumerate(views, start=1):
            link(film.image, out / name / f"view{place}_{'lateral' if film.view == 'LATERAL' else 'frontal'}.jpg")
        rows.append({"Study": f"{ROOT}/{name}", **views[0].labels})
    write_table(out / "groundtruth.csv", ("Study", *LABELS), rows)
