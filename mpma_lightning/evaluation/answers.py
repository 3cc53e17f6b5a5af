"""Accuracy of answers: open, closed, overall; the ceiling, and what a majority and a blind model reach."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Answered(NamedTuple):
    """One question: answer, OPEN or CLOSED, type, whether equal questions have other answers, what was said, its id and
    patient."""

    answer: str
    answer_type: str
    question_type: str
    contrasted: bool
    said: str
    blind: str | None
    id: str = ""
    patient: str = ""


def accuracies(rows: list[Answered], vocabulary: set[str], majority: dict[str, str]) -> dict[str, float]:
    """``accuracy``, ``question_only``, ``majority`` and ``ceiling``, overall, open, closed and contrasted.

    ``majority`` says the most frequent training answer of the question's answer type; ``ceiling`` is the share of
    questions whose answer is in the vocabulary. ``contrasted``: questions that are also asked with another answer, so
    that only the image tells. ``accuracy/<question type>`` follows. Empty groups are left out.
    """
    judges: dict[str, Callable[[Answered], bool]] = {
        "accuracy": lambda row: row.said == row.answer,
        "question_only": lambda row: row.blind == row.answer,
        "majority": lambda row: majority.get(row.answer_type) == row.answer,
        "ceiling": lambda row: row.answer in vocabulary,
    }
    if any(row.blind is None for row in rows):
        del judges["question_only"]
    groups = {
        "": rows,
        "/open": [row for row in rows if row.answer_type == "OPEN"],
        "/closed": [row for row in rows if row.answer_type == "CLOSED"],
        "/contrasted": [row for row in rows if row.contrasted],
    }
    scores = {
        f"{name}{group}": sum(map(judge, members)) / len(members)
        for name, judge in judges.items()
        for group, members in groups.items()
        if members
    }
    for kind in sorted({row.question_type for row in rows if row.question_type}):
        members = [row for row in rows if row.question_type == kind]
        scores[f"accuracy/{kind}"] = sum(map(judges["accuracy"], members)) / len(members)
    return scores | {"questions": float(len(rows))}


def answer_samples(rows: list[Answered]) -> dict[str, np.ndarray]:
    """Columns of ``Task.samples``: whether each answer is right, overall, open, closed and contrasted, else NaN."""
    right = np.array([float(row.said == row.answer) for row in rows])
    kinds = np.array([row.answer_type for row in rows])
    return {
        "id": np.array([row.id for row in rows]),
        "patient": np.array([row.patient for row in rows]),
        "accuracy": right,
        "accuracy/open": np.where(kinds == "OPEN", right, np.nan),
        "accuracy/closed": np.where(kinds == "CLOSED", right, np.nan),
        "accuracy/contrasted": np.where([row.contrasted for row in rows], right, np.nan),
    }
