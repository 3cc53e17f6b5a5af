"""Accuracy of answers, beside the ceiling of the vocabulary, a majority baseline and a model without image."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mpma_lightning.evaluation.metric import Metric, count, reference
from mpma_lightning.evaluation.samples import SampleTable

ACCURACY = Metric("accuracy", unit="share", headline=True, per_sample="mean")
QUESTION_ONLY = reference("question_only", headline=True)
MAJORITY = reference("majority")
CEILING = reference("ceiling")
QUESTIONS = count("questions")


class Answered(NamedTuple):
    """One question: its answer, OPEN or CLOSED, its type, whether it has other answers on other images, the predictions
    of the model and of the baseline without image, its id and patient."""

    answer: str
    answer_type: str
    question_type: str
    contrasted: bool
    predicted: str
    question_only: str | None
    id: str = ""
    patient: str = ""


def accuracies(rows: list[Answered], vocabulary: set[str], majority: dict[str, str]) -> dict[Metric, float]:
    """``accuracy``, ``question_only``, ``majority`` and ``ceiling``, overall, open, closed and contrasted.

    ``majority`` predicts the most frequent training answer of the question's answer type; ``ceiling`` is the share of
    questions whose answer is in the vocabulary. ``contrasted``: questions that have other answers on other images, so
    that the text alone is not enough. Also ``accuracy/<question type>``. Empty groups are left out.
    """
    criteria: dict[Metric, Callable[[Answered], bool]] = {
        ACCURACY: lambda row: row.predicted == row.answer,
        QUESTION_ONLY: lambda row: row.question_only == row.answer,
        MAJORITY: lambda row: majority.get(row.answer_type) == row.answer,
        CEILING: lambda row: row.answer in vocabulary,
    }
    if any(row.question_only is None for row in rows):
        del criteria[QUESTION_ONLY]
    groups = {
        "": rows,
        "open": [row for row in rows if row.answer_type == "OPEN"],
        "closed": [row for row in rows if row.answer_type == "CLOSED"],
        "contrasted": [row for row in rows if row.contrasted],
    }
    scores = {
        _group_metric(metric, group): sum(map(correct, members)) / len(members)
        for metric, correct in criteria.items()
        for group, members in groups.items()
        if members
    }
    for kind in sorted({row.question_type for row in rows if row.question_type}):
        members = [row for row in rows if row.question_type == kind]
        scores[ACCURACY.of(kind)] = sum(map(criteria[ACCURACY], members)) / len(members)
    return scores | {QUESTIONS: float(len(rows))}


def _group_metric(metric: Metric, group: str) -> Metric:
    """``metric`` of a group of questions; the accuracy of a group is a headline too."""
    if not group:
        return metric
    return replace(metric.of(group), headline=metric == ACCURACY, per_sample=metric.per_sample)


def answer_samples(rows: list[Answered]) -> SampleTable:
    """Whether each prediction is correct, as columns overall, open, closed and contrasted; NaN outside of the group."""
    right = np.array([float(row.predicted == row.answer) for row in rows])
    kinds = np.array([row.answer_type for row in rows])
    groups = {"open": kinds == "OPEN", "closed": kinds == "CLOSED", "contrasted": [row.contrasted for row in rows]}
    return SampleTable(
        np.array([row.id for row in rows]),
        np.array([row.patient for row in rows]),
        {
            ACCURACY: right,
            **{_group_metric(ACCURACY, name): np.where(members, right, np.nan) for name, members in groups.items()},
        },
    )
