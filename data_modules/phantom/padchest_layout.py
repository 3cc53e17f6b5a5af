"""The phantom as PadChest: lists of labels with stray blanks, images in numbered folders."""

from pathlib import Path

from PIL import Image

from data_modules.padchest import TABLE
from data_modules.phantom.tables import Row, write_table
from data_modules.phantom.truth import PhantomFilm
from data_modules.text.sections import extract

COLUMNS = ("ImageID", "ImageDir", "StudyID", "PatientID", "Projection", "MethodLabel", "Labels", "Report")
TERMS = {
    "Atelectasis": "atelectasis",
    "Cardiomegaly": "cardiomegaly",
    "Consolidation": "consolidation",
    "Fracture": "rib fracture",
    "Pleural Effusion": "pleural effusion",
    "Pneumonia": "pneumonia",
    "Pneumothorax": "pneumothorax",
}
FOLDERS = 3


def write(films: list[PhantomFilm], out: Path) -> None:
    """Reports are the phantom's, in English; every third image is labelled by a physician, one in fifty by nobody."""
    rows: list[Row] = []
    for place, film in enumerate(films):
        name, folder = f"{film.id}.png", str(place % FOLDERS)
        (out / folder).mkdir(exist_ok=True)
        with Image.open(film.image) as image:
            image.save(out / folder / name)
        terms = {term for label, term in TERMS.items() if film.labels[label]}
        terms |= {str(finding["kind"]) for finding in film.findings if finding["name"] == "Lung Lesion"}
        listed = [f"{term} " if n % 2 else term for n, term in enumerate(sorted(terms) or ["normal"])]
        rows.append(
            {
                "ImageID": name,
                "ImageDir": folder,
                "StudyID": film.study,
                "PatientID": film.patient,
                "Projection": "L" if film.view == "LATERAL" else film.view,
                "MethodLabel": "Physician" if place % 3 == 0 else "RNN_model",
                "Labels": "" if place % 50 == 49 else str([*listed, ""]),
                "Report": extract(film.report.read_text()),
            }
        )
    write_table(out / f"{TABLE}.csv.gz", COLUMNS, rows)
