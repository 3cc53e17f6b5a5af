"""The phantom as SLAKE: `train.json`, `validate.json`, `test.json` and `imgs/xmlabN/source.jpg`, in two languages."""

import json
from pathlib import Path
from typing import Any

from data_modules.files import write_whole
from data_modules.index.hashing import stable_hash
from data_modules.phantom.layouts import link
from data_modules.phantom.questions import questions
from data_modules.phantom.truth import PhantomFilm

FILES = {"train": "train.json", "validate": "validate.json", "test": "test.json"}
CHINESE = {"Modality": ("这张图像是什么成像方式？", "X光"), "Plane": ("这是什么体位？", None)}


def write(films: list[PhantomFilm], out: Path) -> None:
    """English questions by the phantom's split; a few Chinese ones, split on their own, as in the original."""
    rows: dict[str, list[dict[str, Any]]] = {split: [] for split in FILES}
    number = 0
    for image, film in enumerate(films, start=1):
        name = f"xmlab{image}/source.jpg"
        link(film.image, out / "imgs" / name)
        chinese = list(FILES)[stable_hash("zh", film.id) % len(FILES)]
        for question in questions(film):
            wording = question.wordings[stable_hash(film.id, number) % len(question.wordings)]
            closed = "CLOSED" if question.closed else "OPEN"
            row = {
                "img_id": image,
                "img_name": name,
                "question": wording,
                "answer": str(question.answer),
                "q_lang": "en",
                "location": "Lung",
                "modality": "X-Ray",
                "answer_type": closed,
                "base_type": "vqa",
                "content_type": question.content,
                "triple": ["vhead", "_", "_"],
                "qid": number,
            }
            rows[film.split].append(row)
            number += 1
            if question.kind in CHINESE:
                asked, answer = CHINESE[question.kind]
                translated = {"question": asked, "answer": answer or row["answer"], "q_lang": "zh", "qid": number}
                rows[chinese].append({**row, **translated})
                number += 1
    for split, file in FILES.items():
        write_whole(out / file, json.dumps(rows[split], ensure_ascii=False))
