"""The phantom as anyone's own pairs: `pairs.jsonl` and `images/`, frontal films with findings and impression."""

import json
from pathlib import Path

from data_modules.files import write_whole
from data_modules.phantom.layouts import link
from data_modules.phantom.truth import PhantomFilm
from data_modules.text.sections import extract


def write(films: list[PhantomFilm], out: Path) -> None:
    """One line a frontal film: image, text, patient, group (its study), split."""
    rows = []
    for film in (film for film in films if film.view != "LATERAL"):
        link(film.image, out / "images" / f"{film.id}.jpg")
        rows.append(
            {
                "image": f"images/{film.id}.jpg",
                "text": extract(film.report.read_text()),
                "patient": film.patient,
                "group": film.study,
                "split": {"validate": "val"}.get(film.split, film.split),
            }
        )
    write_whole(out / "pairs.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
