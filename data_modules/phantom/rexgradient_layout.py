"""The phantom as ReXGradient-160K: one JSON file a split, whose paths begin with `../deid_png`."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from data_modules.files import write_whole
from data_modules.phantom.truth import PhantomFilm
from data_modules.rexgradient import FILE
from data_modules.text.sections import split_sections

NAMES = {"train": "train", "validate": "valid", "test": "test"}
VIEWS = {"PA": "POSTERO_ANTERIOR", "AP": "AP", "LATERAL": "LATERAL"}


def write(films: list[PhantomFilm], out: Path) -> None:
    """A study by its name, ``<patient>_<study>``; images as PNG."""
    content: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in NAMES.values()}
    for film in films:
        name = f"{film.patient}_{film.study}"
        path = f"deid_png/{film.patient}/{film.study}/{film.id}.png"
        target = out / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(film.image) as image:
            image.save(target)
        sections = dict(split_sections(film.report.read_text()))
        texts = {part.capitalize(): " ".join(sections.get(part, "").split()) for part in ("findings", "impression")}
        empty: dict[str, Any] = {"PatientAge": "007Y", **texts, "ImagePath": [], "ImageViewPosition": []}
        study = content[NAMES[film.split]].setdefault(name, empty)
        study["ImagePath"].append(f"../{path}")
        study["ImageViewPosition"].append(VIEWS[film.view])
    for name, studies in content.items():
        write_whole(out / "metadata" / FILE.format(name), json.dumps(studies))
