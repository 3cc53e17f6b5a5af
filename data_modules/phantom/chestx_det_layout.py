"""The phantom as ChestX-Det: two JSON files with boxes and outlines, PNG images under new numbers."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from data_modules.files import write_whole
from data_modules.phantom.patient import decode_mask
from data_modules.phantom.shapes import box_of, pieces
from data_modules.phantom.truth import PhantomFilm

NAMES = {
    "Atelectasis": "Atelectasis",
    "Cardiomegaly": "Cardiomegaly",
    "Consolidation": "Consolidation",
    "Fracture": "Fracture",
    "Pleural Effusion": "Effusion",
    "Pneumothorax": "Pneumothorax",
}
"""A lung lesion is Nodule or Mass by its kind."""
FIRST = 36199


def write(films: list[PhantomFilm], out: Path) -> None:
    """Frontal films; training and validation patients train. An outline is that of a piece of a finding."""
    records: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    for number, film in enumerate((film for film in films if film.view != "LATERAL"), start=FIRST):
        split = "test" if film.split == "test" else "train"
        name = f"{number}.png"
        folder = out / f"{split}_data"
        folder.mkdir(exist_ok=True)
        with Image.open(film.image) as image:
            image.save(folder / name)
        record: dict[str, Any] = {"file_name": name, "syms": [], "boxes": [], "polygons": []}
        for finding in film.findings:
            lesion = "Mass" if finding["kind"] == "mass" else "Nodule"
            label = lesion if finding["name"] == "Lung Lesion" else NAMES.get(finding["name"])
            if label is None:
                continue
            for piece in pieces(decode_mask(finding["rle"], film.rows, film.columns)):
                x, y, width, height = box_of(piece)
                outlines, _ = cv2.findContours(piece.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
                record["syms"].append(label)
                record["boxes"].append([x, y, x + width, y + height])
                record["polygons"].append(max(outlines, key=len)[:, 0].tolist())
        records[split].append(record)
    for split, listed in records.items():
        write_whole(out / f"ChestX_Det_{split}.json", json.dumps(listed))
