"""The phantom as NIH ChestX-ray14: PNG images in numbered folders, names joined by ``|``, split lists and boxes."""

from collections import defaultdict
from pathlib import Path

from PIL import Image

from data_modules.files import write_whole
from data_modules.phantom.truth import PhantomFilm

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"
NAMES = {
    "Atelectasis": "Atelectasis",
    "Cardiomegaly": "Cardiomegaly",
    "Consolidation": "Consolidation",
    "Edema": "Edema",
    "Pleural Effusion": "Effusion",
    "Pneumonia": "Pneumonia",
    "Pneumothorax": "Pneumothorax",
}
BOXED = ("Atelectasis", "Cardiomegaly", "Pleural Effusion", "Pneumothorax", "Lung Lesion")
PER_FOLDER = 5000


def write(films: list[PhantomFilm], out: Path) -> None:
    """Frontal films; a lung lesion is Nodule or Mass by its kind; boxes of test images."""
    numbers: dict[str, int] = {}
    visits: dict[str, int] = defaultdict(int)
    table, boxes = [HEADER], [BOX_HEADER]
    lists: dict[str, list[str]] = {"train_val_list.txt": [], "test_list.txt": []}
    for place, film in enumerate(film for film in films if film.view != "LATERAL"):
        number = numbers.setdefault(film.patient, len(numbers) + 1)
        visit, visits[film.patient] = visits[film.patient], visits[film.patient] + 1
        name = f"{number:08d}_{visit:03d}.png"
        target = out / f"images_{place // PER_FOLDER + 1:03d}" / "images" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(film.image) as image:
            image.save(target)
        found = _labels(film)
        table.append(f"{name},{'|'.join(found) or 'No Finding'},{visit},{number},0,M,{film.view},"
                     f"{film.columns},{film.rows},0.143,0.143")  # fmt: skip
        lists["test_list.txt" if film.split == "test" else "train_val_list.txt"].append(name)
        if film.split == "test":
            boxes += [f"{name},{label},{x},{y},{w},{h}" for label, (x, y, w, h) in _boxes(film)]
    write_whole(out / "Data_Entry_2017_v2020.csv", "\n".join(table) + "\n")
    write_whole(out / "BBox_List_2017.csv", "\n".join(boxes) + "\n")
    for file, names in lists.items():
        write_whole(out / file, "\n".join(names) + "\n")


def _lesion(finding: dict[str, object]) -> str:
    return "Mass" if finding["kind"] == "mass" else "Nodule"


def _labels(film: PhantomFilm) -> list[str]:
    lesions = {_lesion(finding) for finding in film.findings if finding["name"] == "Lung Lesion"}
    return sorted({name for label, name in NAMES.items() if film.labels[label]} | lesions)


def _boxes(film: PhantomFilm) -> list[tuple[str, tuple[int, int, int, int]]]:
    """x, y, width and height of the findings that the real table has boxes of."""
    rows = []
    for finding in film.findings:
        if finding["name"] in BOXED and finding["box"]:
            x0, y0, x1, y1 = finding["box"]
            label = _lesion(finding) if finding["name"] == "Lung Lesion" else NAMES[finding["name"]]
            rows.append((label, (x0, y0, x1 - x0, y1 - y0)))
    return rows
