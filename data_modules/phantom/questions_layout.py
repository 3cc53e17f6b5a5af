"""The phantom as anyone's own questions: `questions.jsonl` and `images/`, with choices and lists of answers."""

import json
from pathlib import Path
from typing import Any

from data_modules.files import write_whole
from data_modules.index.hashing import stable_hash
from data_modules.phantom.layouts import link
from data_modules.phantom.questions import ASKED, Question, questions
from data_modules.phantom.truth import PhantomFilm

CHOICES = {
    "Size": ("small", "moderate", "large"),
    "Severity": ("mild", "moderate", "severe"),
    "Position": ("left", "right"),
}
EVERY = "Which findings does this film show?"


def write(films: list[PhantomFilm], out: Path) -> None:
    """A line a question; every film is also asked for all its findings, a list that may be empty."""
    rows: list[dict[str, Any]] = []
    for film in films:
        link(film.image, out / "images" / f"{film.id}.jpg")
        about = {"image": f"{film.id}.jpg", "patient": film.patient, "split": film.split}
        for question in questions(film):
            answer = str(question.answer)
            row: dict[str, Any] = about | {
                "question": wording(film, question),
                "answer": answer,
                "question_type": question.content,
            }
            if answer in (given := CHOICES.get(question.kind, ())):
                row["choices"] = list(given)
            rows.append(row)
        rows.append(about | {"question": EVERY, "answer": found(film), "question_type": "Findings"})
    write_whole(out / "questions.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def wording(film: PhantomFilm, question: Question) -> str:
    """One of the question's wordings."""
    return question.wordings[stable_hash(film.id, question.kind) % len(question.wordings)]


def found(film: PhantomFilm) -> list[str]:
    """Names of the findings that the film shows."""
    return sorted({finding["name"].lower() for finding in film.findings if finding["name"] in ASKED})
