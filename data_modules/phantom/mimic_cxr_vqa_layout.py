"""The phantom as MIMIC-CXR-VQA: `train.json`, `valid.json`, `test.json`, and MIMIC-CXR-JPG's `files`."""

import json
from pathlib import Path
from typing import Any

from data_modules.files import write_whole
from data_modules.phantom.layouts import link
from data_modules.phantom.questions import questions
from data_modules.phantom.questions_layout import EVERY, found, wording
from data_modules.phantom.truth import PhantomFilm

SPLITS = {"train": "train", "validate": "valid", "test": "test"}


def write(films: list[PhantomFilm], out: Path) -> None:
    """Answers are lists; the numbers of questions start anew in every file, as in the original."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in SPLITS.values()}
    for film in (film for film in films if film.view != "LATERAL"):
        split = SPLITS[film.split]
        path = f"p{film.patient[:2]}/p{film.patient}/s{film.study}/{film.image.name}"
        link(film.image, out / "files" / path)
        about: dict[str, Any] = {
            "split": split,
            "image_id": film.id,
            "subject_id": film.patient,
            "study_id": film.study,
        }
        about |= {"image_path": path, "template_arguments": {"object": {}, "attribute": {"0": "any"}}}
        asked = [(wording(film, q), [str(q.answer)], "verify" if q.closed else "query") for q in questions(film)]
        for question, answer, kind in [*asked, (EVERY, found(film), "query")]:
            number = len(rows[split])
            rows[split].append(about | {"idx": number, "question": question, "answer": answer, "semantic_type": kind})
    for name, records in rows.items():
        write_whole(out / f"{name}.json", json.dumps(records))
