"""Accuracy of answers, beside the ceiling of the vocabulary, a majority baseline and a model without image."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mpma_lightning.evaluation.metric import Metric, count, reference
from mpma_lightning.evaluation.samples import SampleTable

ACCURACY = Metric("accuracy", unit="share", headline=True, per_sample="mean")
QUESTION_ONLY = reference("question_only", headline=True)
MAJORITY = reference("majority")
CEILING = reference("ceiling")
QUESTIONS = count("questions")
Columns = Mapping[str, np.ndarray]
"""(N,) of each question: its ``answer``, its ``answer_type`` OPEN or CLOSED, its ``question_type``, whether it is
``contrasted`` (has other answers on other images, so that the text alone is not enough), the answers that the model
``predicted`` and that the baseline without image did, ``question_only`` (all None without a baseline)."""


def accuracies(rows: Columns, vocabulary: set[str], majority: dict[str, str]) -> dict[Metric, float]:
    """``accuracy``, ``question_only``, ``majority`` and ``ceiling``, overall, open, closed and contrasted.

    ``majority`` predicts the most frequent training answer of the question's answer type; ``ceiling`` is the share of
    questions whose answer is in the vocabulary. Also ``accuracy/<question type>``. Empty groups are left out.
    """
    answers, kinds = rows["answer"], rows["question_type"]
    correct = {
        ACCURACY: rows["predicted"] == answers,
        QUESTION_ONLY: rows["question_only"] == answers,
        MAJORITY: np.array([majority.get(kind) for kind in rows["answer_type"]], object) == answers,
        CEILING: np.array([answer in vocabulary for answer in answers]),
    }
    if None in rows["question_only"].tolist():
        del correct[QUESTION_ONLY]
    groups = {"": np.ones(len(answers), bool)} | _groups(rows)
    scores = {
        _of_group(metric, group): float(right[members].mean())
        for metric, right in correct.items()
        for group, members in groups.items()
        if members.any()
    }
    for kind in sorted(set(kinds) - {""}):
        scores[ACCURACY.of(kind)] = float(correct[ACCURACY][kinds == kind].mean())
    return scores | {QUESTIONS: float(len(answers))}


def _groups(rows: Columns) -> dict[str, np.ndarray]:
    """(N,) bool by name."""
    kinds = rows["answer_type"]
    return {"open": kinds == "OPEN", "closed": kinds == "CLOSED", "contrasted": rows["contrasted"].astype(bool)}


def _of_group(metric: Metric, group: str) -> Metric:
    """``metric`` of a group of questions; the accuracy of a group is a headline too."""
    if not group:
        return metric
    return replace(metric.of(group), headline=metric == ACCURACY, per_sample=metric.per_sample)


def answer_samples(rows: Columns) -> SampleTable:
    """Whether each prediction is correct, as columns overall, open, closed and contrasted; NaN outside of the group.

    Args:
        rows: also with ``id`` and ``patient``.
    """
    right = (rows["predicted"] == rows["answer"]).astype(float)
    groups = {_of_group(ACCURACY, name): np.where(members, right, np.nan) for name, members in _groups(rows).items()}
    return SampleTable(rows["id"], rows["patient"], {ACCURACY: right, **groups})
