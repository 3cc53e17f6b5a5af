"""The phantom as PathVQA in the hub's form: one Parquet file a split, with the images inside."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_modules.phantom.questions import questions
from data_modules.phantom.questions_layout import wording
from data_modules.phantom.truth import PhantomFilm

SPLITS = {"train": "train", "validate": "validation", "test": "test"}


def write(films: list[PhantomFilm], out: Path) -> None:
    """A row a question, each with the bytes of its image."""
    (out / "data").mkdir()
    for split, name in SPLITS.items():
        asked = [(film, question) for film in films if film.split == split for question in questions(film)]
        table = pa.table(
            {
                "image": [{"bytes": film.image.read_bytes(), "path": None} for film, _ in asked],
                "question": [wording(film, question) for film, question in asked],
                "answer": [str(question.answer) for _, question in asked],
            }
        )
        pq.write_table(table, out / "data" / f"{name}-00000-of-00001.parquet")
