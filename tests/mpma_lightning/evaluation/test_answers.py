"""Accuracies of answers, counted by hand."""

import numpy as np
import pytest

from mpma_lightning.evaluation.answers import accuracies, answer_samples
from mpma_lightning.evaluation.bootstrap import mean_interval, mean_intervals
from mpma_lightning.evaluation.metric import by_name

NAMES = ("answer", "answer_type", "question_type", "contrasted", "predicted", "question_only", "id", "patient")


def columns(*questions: tuple[object, ...]) -> dict[str, np.ndarray]:
    """The columns of questions that give the first of ``NAMES``."""
    values = zip(*questions, strict=True)
    return {name: np.array(column, object) for name, column in zip(NAMES, values, strict=False)}


def test_value_accuracies() -> None:
    rows = columns(
        ("yes", "CLOSED", "PRES", True, "yes", "no"),
        ("no", "CLOSED", "PRES", True, "yes", "no"),
        ("left", "OPEN", "POS", False, "left", "left"),
        ("rare", "OPEN", "POS", False, "left", "left"),
    )
    scores = by_name(accuracies(rows, {"yes", "no", "left"}, {"CLOSED": "yes", "OPEN": "left"}))
    assert scores["accuracy"] == 0.5 and scores["accuracy/closed"] == 0.5 and scores["accuracy/open"] == 0.5
    assert scores["question_only/contrasted"] == 0.5 and scores["accuracy/contrasted"] == 0.5
    assert scores["majority"] == 0.5 and scores["ceiling"] == 0.75 and scores["ceiling/open"] == 0.5
    assert scores["accuracy/PRES"] == scores["accuracy/POS"] == 0.5 and scores["questions"] == 4


def test_value_without_the_blind_model() -> None:
    scores = by_name(accuracies(columns(("yes", "CLOSED", "", False, "yes", None)), {"yes"}, {}))
    assert "question_only" not in scores and scores["majority"] == 0.0 and scores["accuracy"] == pytest.approx(1.0)
    assert "accuracy/open" not in scores and "accuracy/contrasted" not in scores


def test_value_intervals_draw_patients_with_all_their_questions() -> None:
    rows = [
        ("yes", "CLOSED" if i % 2 else "OPEN", "", False, "yes" if i < 20 else "no", None, f"q{i}", f"p{i // 20}")
        for i in range(40)
    ]
    table = answer_samples(columns(*rows))
    samples = table.frame()
    assert samples["id"][21] == "q21" and samples["patient"][21] == "p1"
    found = by_name(mean_intervals(table.values, table.patients))
    assert [found[f"accuracy{end}"] for end in ("_low", "_high")] == [0, 1], "two patients, each all right or all wrong"
    assert (found["accuracy/open_low"], found["accuracy/open_high"]) == mean_interval(
        samples["accuracy"].to_numpy()[::2], table.patients[::2]
    )
    assert not [name for name in found if "contrasted" in name or "id" in name]
    low, high = mean_interval(samples["accuracy"].to_numpy(), np.arange(40))
    assert 0.3 < low < 0.5 < high < 0.7
