"""The phantom as NIH ChestX-ray14 with Google's labels: four findings as YES or NO, validation and test patients."""

from pathlib import Path

from PIL import Image

from data_modules.nih_google import TABLE
from data_modules.phantom.tables import Row, write_table
from data_modules.phantom.truth import PhantomFilm

NAMES = {
    "Fracture": "Fracture",
    "Pneumothorax": "Pneumothorax",
    "Airspace opacity": "Lung Opacity",
    "Nodule or mass": "Lung Lesion",
}
SETS = {"validate": "val", "test": "test"}


def write(films: list[PhantomFilm], out: Path) -> None:
    """Frontal films. NIH's own column says No Finding of every image: a reader that takes it has no positive."""
    chosen = [film for film in films if film.view != "LATERAL" and film.split in SETS]
    numbers = {patient: i for i, patient in enumerate(dict.fromkeys(film.patient for film in chosen), start=1)}
    rows: list[Row] = []
    for place, film in enumerate(chosen):
        name = f"{numbers[film.patient]:08d}_{place:03d}.png"
        target = out / "images_001" / "images" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(film.image) as image:
            image.save(target)
        row: Row = {"Image Index": name, "Finding Labels": "No Finding", "Patient ID": numbers[film.patient]}
        said = {theirs: "YES" if film.labels[ours] else "NO" for theirs, ours in NAMES.items()}
        rows.append({**row, **said, "Set Id": SETS[film.split]})
    write_table(out / f"{TABLE}.csv.gz", ("Image Index", "Finding Labels", "Patient ID", *NAMES, "Set Id"), rows)
