"""Accuracy and token F1 of answers, beside the vocabulary's ceiling, a majority baseline and a model without image."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from data_modules.text.answers import BETWEEN, split_answers
from mpma_lightning.evaluation.metric import Metric, count, reference
from mpma_lightning.evaluation.samples import SampleTable

ACCURACY = Metric("accuracy", unit="share", headline=True, per_sample="mean", baseline="question_only")
TOKEN_F1 = Metric("token_f1", unit="share")
QUESTION_ONLY = reference("question_only", headline=True)
MAJORITY = reference("majority")
CEILING = reference("ceiling")
QUESTIONS = count("questions")
Columns = Mapping[str, np.ndarray]
"""(N,) of each question: its ``answer``, its ``answer_type`` OPEN or CLOSED, its ``question_type``, whether it is
``contrasted`` (has other answers on other images, so that the text alone is not enough), the answers that the model
``predicted`` and that the baseline without image did, ``question_only`` (all None without a baseline)."""


def accuracies(
    rows: Columns, vocabulary: set[str], majority: dict[str, str], any_one: bool = False
) -> dict[Metric, float]:
    """``accuracy``, ``question_only``, ``majority`` and ``ceiling``, overall, open, closed and contrasted; and
    ``token_f1/open``.

    A prediction is correct if it is all answers of the question, with ``any_one`` if it is one of them. ``token_f1``
    is that of the words of prediction and answer, the best one with ``any_one``. ``majority`` predicts the most
    frequent training answer of the question's answer type; ``ceiling`` is the share of questions whose answer is in the
    vocabulary. Also ``accuracy/<question type>``. Empty groups are left out.
    """
    answers, kinds = rows["answer"], rows["question_type"]
    reached = any if any_one else all
    correct = {
        ACCURACY: right_answers(rows["predicted"], answers, any_one),
        QUESTION_ONLY: right_answers(rows["question_only"], answers, any_one),
        MAJORITY: right_answers([majority.get(kind) for kind in rows["answer_type"]], answers, any_one),
        CEILING: np.array([reached(one in vocabulary for one in split_answers(answer)) for answer in answers]),
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
    if (is_open := rows["answer_type"] == "OPEN").any():
        pairs = zip(rows["predicted"][is_open], answers[is_open], strict=True)
        scores[TOKEN_F1.of("open")] = float(np.mean([token_f1(*pair, any_one) for pair in pairs]))
    return scores | {QUESTIONS: float(len(answers))}


def token_f1(predicted: str, answer: str, any_one: bool = False) -> float:
    """F1 of the words that both have, counted as often as they occur; with ``any_one`` the best of the answers."""

    def f1(truth: str) -> float:
        ours, theirs = Counter(predicted.replace(BETWEEN, " ").split()), Counter(truth.replace(BETWEEN, " ").split())
        if not ours or not theirs:
            return float(ours == theirs)
        return 2 * (ours & theirs).total() / (ours.total() + theirs.total())

    return max(map(f1, split_answers(answer) if any_one and answer else [answer]))


def right_answers(predicted: Iterable[str | None], answers: Iterable[str], any_one: bool) -> np.ndarray:
    """(N,) bool: whether predictions are all answers of their questions; with ``any_one`` one of them."""
    pairs = zip(predicted, answers, strict=True)
    return np.array([own == truth or (any_one and own in split_answers(truth)) for own, truth in pairs], bool)


def _groups(rows: Columns) -> dict[str, np.ndarray]:
    """(N,) bool by name."""
    kinds = rows["answer_type"]
    return {"open": kinds == "OPEN", "closed": kinds == "CLOSED", "contrasted": rows["contrasted"].astype(bool)}


def _of_group(metric: Metric, group: str) -> Metric:
    """``metric`` of a group of questions; the accuracy of a group is a headline too."""
    if not group:
        return metric
    return replace(metric.of(group), headline=metric == ACCURACY, per_sample=metric.per_sample)


def answer_samples(rows: Columns, any_one: bool = False) -> SampleTable:
    """Whether each prediction is correct, as columns overall, open, closed and contrasted; NaN outside of the group.

    Args:
        rows: also with ``id`` and ``patient``.
        any_one: as of :func:`accuracies`.
    """
    right = right_answers(rows["predicted"], rows["answer"], any_one).astype(float)
    groups = {_of_group(ACCURACY, name): np.where(members, right, np.nan) for name, members in _groups(rows).items()}
    return SampleTable(rows["id"], rows["patient"], {ACCURACY: right, **groups})
