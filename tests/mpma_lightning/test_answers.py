"""Accuracies of answers, counted by hand."""

import pytest

from mpma_lightning.evaluation.answers import Answered, accuracies


def test_value_accuracies() -> None:
    rows = [
        Answered("yes", "CLOSED", "PRES", True, "yes", "no"),
        Answered("no", "CLOSED", "PRES", True, "yes", "no"),
        Answered("left", "OPEN", "POS", False, "left", "left"),
        Answered("rare", "OPEN", "POS", False, "left", "left"),
    ]
    scores = accuracies(rows, {"yes", "no", "left"}, {"CLOSED": "yes", "OPEN": "left"})
    assert scores["accuracy"] == 0.5 and scores["accuracy/closed"] == 0.5 and scores["accuracy/open"] == 0.5
    assert scores["question_only/contrasted"] == 0.5 and scores["accuracy/contrasted"] == 0.5
    assert scores["majority"] == 0.5 and scores["ceiling"] == 0.75 and scores["ceiling/open"] == 0.5
    assert scores["accuracy/PRES"] == scores["accuracy/POS"] == 0.5 and scores["questions"] == 4


def test_value_without_the_blind_model() -> None:
    scores = accuracies([Answered("yes", "CLOSED", "", False, "yes", None)], {"yes"}, {})
    assert "question_only" not in scores and scores["majority"] == 0.0 and scores["accuracy"] == pytest.approx(1.0)
    assert "accuracy/open" not in scores and "accuracy/contrasted" not in scores
