"""The phantom as anyone's own pairs: `pairs.csv` and `images/`, frontal films with findings and impression."""

from pathlib import Path

from data_modules.phantom.layouts import link
from data_modules.phantom.tables import Row, write_table
from data_modules.phantom.truth import PhantomFilm
from data_modules.text.sections import extract

LABELS = ("Cardiomegaly", "Pleural Effusion")


def write(films: list[PhantomFilm], out: Path) -> None:
    """One row a frontal film: image, text, patient, group (its study), split, and 1 or 0 for each of ``LABELS``."""
    rows: list[Row] = []
    for film in (film for film in films if film.view != "LATERAL"):
        link(film.image, out / "images" / f"{film.id}.jpg")
        rows.append(
            {
                "image": f"images/{film.id}.jpg",
                "text": extract(film.report.read_text()),
                "patient": film.patient,
                "group": film.study,
                "split": {"validate": "val"}.get(film.split, film.split),
                **{name: film.labels[name] for name in LABELS},
            }
        )
    write_table(out / "pairs.csv", ("image", "text", "patient", "group", "split", *LABELS), rows)
