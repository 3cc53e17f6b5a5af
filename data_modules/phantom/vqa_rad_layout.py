"""The phantom as VQA-RAD in the MEVF arrangement: `trainset.json`, `testset.json`, `images/`, traps included."""

import json
from pathlib import Path
from typing import Any

from data_modules.files import write_whole
from data_modules.index.hashing import stable_hash
from data_modules.phantom.layouts import link
from data_modules.phantom.questions import Question, questions
from data_modules.phantom.truth import PhantomFilm

TYPES = {
    "Presence": "PRES",
    "Position": "POS",
    "Zone": "POS, ABN",
    "Size": "SIZE",
    "Severity": "SIZE",
    "Count": "COUNT",
    "Device": "ATRIB",
    "Plane": "PLANE",
    "Modality": "MODALITY",
}


def write(films: list[PhantomFilm], out: Path) -> None:
    """Frontal and lateral films; held-out patients are the test set, so that, unlike the original, no image is in both.

    As in the original: counts are integers, some types end in a space, Yes and yes are mixed, and a ``frame`` question
    repeats every tenth training question in other words.
    """
    rows: dict[str, list[dict[str, Any]]] = {"trainset.json": [], "testset.json": []}
    number = 0
    for film in films:
        file = "testset.json" if film.split == "test" else "trainset.json"
        name = f"synpic{1 + stable_hash('synpic', film.id) % 10**12}.jpg"
        link(film.image, out / "images" / name)
        for question in questions(film):
            number += 1
            wording = stable_hash(film.id, number) % len(question.wordings)
            phrase = "freeform" if number % 3 else "para"
            rows[file].append(_row(number, name, question, question.wordings[wording], phrase))
            if file == "trainset.json" and number % 10 == 0:
                number += 1
                other = question.wordings[(wording + 1) % len(question.wordings)]
                rows[file].append(_row(number, name, question, other, "frame"))
    for file, records in rows.items():
        write_whole(out / file, json.dumps(records))


def _row(number: int, image: str, question: Question, wording: str, phrase: str) -> dict[str, Any]:
    answer, kind = question.answer, "CLOSED" if question.closed else "OPEN"
    if isinstance(answer, str) and number % 4 == 0:
        answer = answer.lower() if number % 8 else f"{answer}\t"
    return {
        "qid": number,
        "image_name": image,
        "image_organ": "CHEST",
        "answer": answer,
        "answer_type": f"{kind} " if number % 500 == 1 else kind,
        "question_type": TYPES[question.kind],
        "question": wording,
        "phrase_type": phrase,
    }
