"""The phantom as VinDr-CXR: DICOM films, three readers of each training image, a consensus of the test images."""

from pathlib import Path

import numpy as np

from data_modules.index.hashing import stable_hash
from data_modules.phantom.dicom_files import write_dicom
from data_modules.phantom.patient import decode_mask
from data_modules.phantom.shapes import box_of, pieces
from data_modules.phantom.tables import Row, write_table
from data_modules.phantom.truth import PhantomFilm
from data_modules.vindr_cxr import NORMAL, SIDES

NAMES = {
    "Atelectasis": "Atelectasis",
    "Cardiomegaly": "Cardiomegaly",
    "Consolidation": "Consolidation",
    "Lung Lesion": "Nodule/Mass",
    "Pleural Effusion": "Pleural effusion",
    "Pneumothorax": "Pneumothorax",
}
READERS = ("R1", "R2", "R3")


def write(films: list[PhantomFilm], out: Path) -> None:
    """Each reader's boxes are a little elsewhere, and the third one overlooks every fourth image."""
    rows: dict[str, list[Row]] = {"train": [], "test": []}
    for film in (film for film in films if film.view != "LATERAL"):
        split = "test" if film.split == "test" else "train"
        (out / split).mkdir(exist_ok=True)
        write_dicom(film, out / split / f"{film.id}.dicom")
        for reader in READERS if split == "train" else ("",):
            overlooks = reader == READERS[2] and stable_hash("overlooks", film.id) % 4 == 0
            own = [] if overlooks else _drawn(film, reader)
            about: Row = {"image_id": film.id, "rad_id": reader}
            rows[split] += [about | row for row in own] or [about | {"class_name": NORMAL}]
    write_table(
        out / "annotations" / "annotations_train.csv", ("image_id", "rad_id", "class_name", *SIDES), rows["train"]
    )
    write_table(out / "annotations" / "annotations_test.csv", ("image_id", "class_name", *SIDES), rows["test"])


def _drawn(film: PhantomFilm, reader: str) -> list[Row]:
    rng = np.random.default_rng(stable_hash("reader", film.id, reader) % (1 << 63))
    rows: list[Row] = []
    for finding in film.findings:
        if finding["name"] not in NAMES:
            continue
        for piece in pieces(decode_mask(finding["rle"], film.rows, film.columns)):
            x, y, width, height = box_of(piece)
            shift = rng.uniform(-0.05, 0.05, 4) * np.array([width, height, width, height]) if reader else np.zeros(4)
            corners = np.array([x, y, x + width, y + height]) + shift
            corners = corners.clip(0, [film.columns, film.rows] * 2)
            rows.append(
                {"class_name": NAMES[finding["name"]], **dict(zip(SIDES, corners.round(2).tolist(), strict=True))}
            )
    return rows
