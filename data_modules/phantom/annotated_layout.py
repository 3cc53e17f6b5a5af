"""The phantom as anyone's own annotated images: ``images/``, ``masks/``, ``boxes.json`` and ``metadata.csv``."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_modules.files import write_whole
from data_modules.phantom.layouts import link
from data_modules.phantom.shapes import box_of, pieces
from data_modules.phantom.tables import Row, write_table
from data_modules.phantom.truth import PhantomFilm

BOXED = ("Cardiomegaly", "Consolidation", "Lung Lesion", "Pleural Effusion", "Pneumothorax")
MASKED = "Cardiomegaly"


def write(films: list[PhantomFilm], out: Path) -> None:
    """Frontal films with the mask of an enlarged heart and the boxes of five findings."""
    (out / "masks").mkdir()
    rows: list[Row] = []
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for film in (film for film in films if film.view != "LATERAL"):
        name = f"{film.id}.jpg"
        link(film.image, out / "images" / name)
        Image.fromarray(film.mask(MASKED).astype(np.uint8) * 255).save(out / "masks" / f"{film.id}.png")
        images.append({"id": len(images) + 1, "file_name": name, "width": film.columns, "height": film.rows})
        for i, label in enumerate(BOXED):
            for box in map(box_of, pieces(film.mask(label))):
                ids = {"id": len(annotations) + 1, "image_id": len(images), "category_id": i + 1}
                annotations.append({**ids, "bbox": list(box), "area": box[2] * box[3], "iscrowd": 0})
        row = {"image": f"images/{name}", "patient": film.patient, "group": film.study, "split": film.split}
        rows.append({**row, "phrase": _phrase([label for label in BOXED if film.mask(label).any()])})
    write_table(out / "metadata.csv", ("image", "patient", "group", "split", "phrase"), rows)
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(BOXED)]
    content = {"images": images, "categories": categories, "annotations": annotations}
    write_whole(out / "boxes.json", json.dumps(content))


def _phrase(labels: list[str]) -> str:
    return ", ".join(labels).capitalize() + "." if labels else "Nothing is annotated."
