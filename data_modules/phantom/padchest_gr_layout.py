"""The phantom as PadChest-GR: sentences with boxes as shares of the image; the split is in `master_table.csv`."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from data_modules.files import write_whole
from data_modules.phantom.patient import decode_mask
from data_modules.phantom.shapes import box_of, pieces
from data_modules.phantom.tables import Row, write_table
from data_modules.phantom.truth import PhantomFilm

NAMES = {"train": "train", "validate": "validation", "test": "test"}


def write(films: list[PhantomFilm], out: Path) -> None:
    """One frontal film a study; like the original, normal sentences have no boxes and no labels."""
    studies: list[dict[str, Any]] = []
    table: list[Row] = []
    (out / "PadChest_GR").mkdir()
    for film in (film for film in films if film.view != "LATERAL"):
        with Image.open(film.image) as image:
            image.save(out / "PadChest_GR" / f"{film.id}.png")
        findings: list[dict[str, Any]] = [
            {
                "sentence_en": f"{finding['phrase'].capitalize()}.",
                "sentence_es": f"{finding['phrase'].capitalize()} (en español).",
                "abnormal": True,
                "boxes": [
                    _shares(film, box_of(p)) for p in pieces(decode_mask(finding["rle"], film.rows, film.columns))
                ],
                "labels": [finding["name"].lower()],
            }
            for finding in film.findings
        ]
        normal = {"sentence_en": "No other abnormality.", "sentence_es": "Sin otras alteraciones.", "abnormal": False}
        studies.append({"StudyID": film.study, "ImageID": f"{film.id}.png", "findings": [*findings, normal]})
        for label in {finding["name"].lower() for finding in film.findings} or {"normal"}:
            row = {"StudyID": film.study, "PatientID": film.patient, "label": label, "split": NAMES[film.split]}
            table.append(dict(row))
    write_whole(out / "grounded_reports_20240819.json", json.dumps(studies))
    write_table(out / "master_table.csv", ("StudyID", "PatientID", "label", "split"), table)


def _shares(film: PhantomFilm, box: tuple[int, int, int, int]) -> list[float]:
    x, y, width, height = box
    corners = (x / film.columns, y / film.rows, (x + width) / film.columns, (y + height) / film.rows)
    return [round(side, 6) for side in corners]
