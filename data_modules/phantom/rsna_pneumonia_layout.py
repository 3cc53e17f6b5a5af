"""The phantom as RSNA Pneumonia: DICOM films, one row a box, and the class table that repeats itself a box."""

from pathlib import Path

from data_modules.phantom.dicom_files import write_dicom
from data_modules.phantom.shapes import box_of, pieces
from data_modules.phantom.tables import Row, write_lists, write_table
from data_modules.phantom.truth import PhantomFilm

OPACITY = "Consolidation"


def write(films: list[PhantomFilm], out: Path) -> None:
    """Frontal films; every piece of a consolidation is a box. ``lists/`` has the phantom's own split."""
    films = [film for film in films if film.view != "LATERAL"]
    write_lists(out / "lists", ((film.id, film.split) for film in films))
    boxes: list[Row] = []
    classes: list[Row] = []
    for film in films:
        write_dicom(film, out / "stage_2_train_images" / f"{film.id}.dcm")
        found = [box_of(piece) for piece in pieces(film.mask(OPACITY))]
        normal = "Normal" if film.labels["No Finding"] else "No Lung Opacity / Not Normal"
        for x, y, width, height in found:
            boxes.append({"patientId": film.id, "x": float(x), "y": float(y), "width": float(width),
                          "height": float(height), "Target": 1})  # fmt: skip
        if not found:
            boxes.append({"patientId": film.id, "Target": 0})
        classes += [{"patientId": film.id, "class": "Lung Opacity" if found else normal}] * max(len(found), 1)
    write_table(out / "stage_2_train_labels.csv", ("patientId", "x", "y", "width", "height", "Target"), boxes)
    write_table(out / "stage_2_detailed_class_info.csv", ("patientId", "class"), classes)
