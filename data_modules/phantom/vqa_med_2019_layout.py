"""The phantom as VQA-Med-2019: lines of id, question and answer; the test file with categories and alternatives."""

from pathlib import Path

from data_modules.files import write_whole
from data_modules.index.hashing import stable_hash
from data_modules.phantom.layouts import link
from data_modules.phantom.questions import questions
from data_modules.phantom.questions_layout import wording
from data_modules.phantom.truth import PhantomFilm
from data_modules.vqa_med_2019 import FILES

FOLDERS = {"train": "Train_images", "val": "Val_images", "test": "VQAMed2019_Test_Images"}
CATEGORIES = {"Modality": "modality", "Plane": "plane"}
ALSO = {"PA": "PA#frontal", "AP": "AP#frontal", "x-ray": "x-ray (plain film)"}
"""Reference answers with an alternative, and with a part that may be left out."""


def write(films: list[PhantomFilm], out: Path) -> None:
    """Images without an ending in the files; reference answers of the test file list what else is correct."""
    lines: dict[str, list[str]] = {split: [] for split in FILES}
    for film in films:
        split = {"validate": "val"}.get(film.split, film.split)
        name = f"synpic{1 + stable_hash('vqa-med', film.id) % 10**12}"
        link(film.image, out / FOLDERS[split] / f"{name}.jpg")
        for question in questions(film):
            answer, asked = str(question.answer), wording(film, question)
            if split == "test":
                category = CATEGORIES.get(question.kind, "abnormality")
                lines[split].append(f"{name}|{category}|{asked}|{ALSO.get(answer, answer)}")
            else:
                lines[split].append(f"{name}|{asked}|{answer}")
    for split, rows in lines.items():
        write_whole(out / FILES[split], "".join(f"{row}\n" for row in rows))
