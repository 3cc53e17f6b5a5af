"""The phantom as MS-CXR: phrases and boxes of all frontal films; the images stay in the MIMIC-CXR layout."""

import json
from pathlib import Path
from typing import Any

from data_modules.files import write_whole
from data_modules.phantom.patient import decode_mask
from data_modules.phantom.shapes import box_of, pieces
from data_modules.phantom.truth import PhantomFilm

CATEGORIES = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Lung Opacity",
    "Pleural Effusion",
    "Pneumonia",
    "Pneumothorax",
)


def write(films: list[PhantomFilm], out: Path) -> None:
    """Frontal films of every split; a lung lesion is Lung Opacity, a consolidation that is a pneumonia is Pneumonia."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for film in (film for film in films if film.view != "LATERAL"):
        found = [(name, finding) for finding in film.findings if (name := _category(finding)) in CATEGORIES]
        if not found:
            continue
        stem = Path("files", f"p{film.patient[:2]}", f"p{film.patient}", f"s{film.study}")
        image = {"id": len(images) + 1, "file_name": film.image.name, "width": film.columns, "height": film.rows}
        images.append({**image, "path": (stem / film.image.name).as_posix()})
        for name, finding in found:
            for piece in pieces(decode_mask(finding["rle"], film.rows, film.columns)):
                x, y, width, height = box_of(piece)
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": len(images),
                        "category_id": CATEGORIES.index(name) + 1,
                        "bbox": [x, y, width, height],
                        "area": width * height,
                        "label_text": finding["phrase"],
                        "iscrowd": 0,
                    }
                )
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(CATEGORIES)]
    content = {"images": images, "categories": categories, "annotations": annotations}
    write_whole(out / "MS_CXR_Local_Alignment_v1.0.0.json", json.dumps(content))


def _category(finding: dict[str, Any]) -> str:
    if finding["name"] == "Lung Lesion":
        return "Lung Opacity"
    return "Pneumonia" if finding["kind"] == "pneumonia" else str(finding["name"])
