"""Macro-accuracy of progression beside the majority, against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, recall_score

from mpma_lightning.evaluation.metric import by_name
from mpma_lightning.evaluation.progression import ProgressionScores


def test_value_by_hand() -> None:
    truth = np.array([[0, -1], [0, 2], [1, 2], [2, -1], [-1, -1]])
    predicted = np.array([[0, 1], [1, 2], [1, 0], [0, 0], [0, 0]])
    found = ProgressionScores(["Edema", "Pneumonia"], truth, predicted, np.array([0, 2]), np.arange(5).astype(str))
    scores = by_name(found.scores(interval=False))
    assert scores["macro_accuracy/Edema"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert scores["macro_accuracy/Pneumonia"] == 0.5
    assert scores["macro_accuracy"] == pytest.approx((0.5 + 0.5) / 2)
    assert scores["majority_macro_accuracy"] == pytest.approx((1 / 3 + 1) / 2)
    assert scores["accuracy"] == pytest.approx(3 / 6) and scores["majority_accuracy"] == pytest.approx(4 / 6)
    assert [values.tolist() for values in found.parts] == [[1, 1, 1, 0, 0], [1, 2, 2, 1, 0]]


def test_value_as_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    truth, predicted = draw.integers(-1, 3, (200, 3)), draw.integers(0, 3, (200, 3))
    patients = draw.integers(0, 50, 200).astype(str)
    found = ProgressionScores(["a", "b", "c"], truth, predicted, np.zeros(3, int), patients)
    scores = by_name(found.scores(interval=True))
    recalls = []
    for place, name in enumerate("abc"):
        known = truth[:, place] >= 0
        pair = truth[known, place], predicted[known, place]
        recalls.append(recall_score(*pair, average="macro"))
        assert scores[f"macro_accuracy/{name}"] == pytest.approx(recalls[-1])
    assert scores["macro_accuracy"] == pytest.approx(np.mean(recalls))
    known = truth >= 0
    assert scores["accuracy"] == pytest.approx(accuracy_score(truth[known], predicted[known]))
    assert scores["majority_macro_accuracy"] == pytest.approx(1 / 3)
    for name in ("macro_accuracy", "accuracy"):
        assert scores[f"{name}_low"] < scores[name] < scores[f"{name}_high"]


def test_value_weights_of_a_draw_count_samples() -> None:
    truth, predicted = np.array([[0], [0], [1]]), np.array([[0], [1], [1]])
    found = ProgressionScores(["a"], truth, predicted, np.array([0]), np.array(["p", "q", "r"]))
    assert found.by_finding(predicted, np.array([3.0, 1.0, 1.0])) == {"a": (3 / 4 + 1) / 2}
    assert found.by_finding(predicted, np.array([1.0, 1.0, 0.0])) == {"a": 0.5}


def test_value_without_any_label() -> None:
    found = ProgressionScores(["a"], np.array([[-1]]), np.array([[0]]), np.array([0]), np.array(["p"]))
    assert found.scores(interval=True) == {}
