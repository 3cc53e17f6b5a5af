"""The phantom as PMC-VQA: `train_2.csv`, `test_2.csv` and `images/`; four choices a question, the answer a letter."""

from pathlib import Path

from data_modules.index.hashing import stable_hash
from data_modules.phantom.layouts import link
from data_modules.phantom.questions import ASKED, questions
from data_modules.phantom.questions_layout import wording
from data_modules.phantom.tables import Row, write_table
from data_modules.phantom.truth import PhantomFilm

LETTERS = "ABCD"
OTHERS = ("small", "moderate", "large", "mild", "severe", "left", "right", "upper", "mid", "lower", *ASKED)
COLUMNS = ("Figure_path", "Caption", "Question", *(f"Choice {letter}" for letter in LETTERS), "Answer", "split")


def write(films: list[PhantomFilm], out: Path) -> None:
    """Questions whose answer is not yes or no; validation patients train, as the original has no validation split."""
    rows: dict[str, list[Row]] = {"train": [], "test": []}
    for film in films:
        split = "test" if film.split == "test" else "train"
        link(film.image, out / "images" / f"{film.id}.jpg")
        for question in questions(film):
            answer = str(question.answer)
            if answer.lower() in ("yes", "no"):
                continue
            place = stable_hash("choice", film.id, question.kind) % len(LETTERS)
            wrong = sorted((o for o in OTHERS if o != answer), key=lambda o: stable_hash(film.id, question.kind, o))
            given = [*wrong[:place], answer, *wrong[place : len(LETTERS) - 1]]
            row: Row = {"Figure_path": f"{film.id}.jpg", "Question": wording(film, question), "split": split}
            row |= {f"Choice {a}": f" {a}: {text} " for a, text in zip(LETTERS, given, strict=True)}
            rows[split].append(row | {"Answer": LETTERS[place]})
    for split, table in rows.items():
        write_table(out / f"{split}_2.csv", COLUMNS, table)
