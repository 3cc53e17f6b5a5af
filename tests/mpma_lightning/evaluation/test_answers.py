"""Accuracies of answers, counted by hand."""

import numpy as np
import pytest
import torch

from mpma_lightning.evaluation.answers import accuracies, answer_samples, token_f1
from mpma_lightning.evaluation.bootstrap import mean_interval, mean_intervals
from mpma_lightning.evaluation.metric import by_name
from mpma_lightning.tasks.vqa import VQATask

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


def test_value_any_one_of_several_answers_or_all_of_them() -> None:
    rows = columns(
        ("edema | mass", "OPEN", "", False, "mass", "edema | mass"),
        ("edema | mass", "OPEN", "", False, "edema | mass", None),
        ("", "OPEN", "", False, "", "mass"),
        ("rare | mass", "CLOSED", "", False, "nodule", "rare"),
    )
    rows["question_only"] = np.array(["edema | mass", "x", "mass", "rare"], object)
    vocabulary, majority = {"edema", "mass", "nodule"}, {"OPEN": "mass", "CLOSED": "edema | mass"}
    every = by_name(accuracies(rows, vocabulary, majority))
    assert every["accuracy"] == 0.5 and every["ceiling"] == 0.75 and every["majority"] == 0.0
    assert every["question_only"] == 0.25
    one = by_name(accuracies(rows, vocabulary, majority, any_one=True))
    assert one["accuracy"] == 0.75 and one["ceiling"] == 0.75 and one["majority"] == 0.5
    assert one["question_only"] == 0.25 + 0.25
    row = ("a | b", "OPEN", "", False, "a", None, "q", "p")
    for any_one, expected in ((True, 1.0), (False, 0.0)):
        assert answer_samples(columns(row), any_one).frame()["accuracy"].tolist() == [expected]


@pytest.mark.parametrize(
    ("predicted", "answer", "any_one", "expected"),
    [
        ("left lung", "left lower lung", False, 0.8),
        ("left lung", "left lung", False, 1.0),
        ("mass", "edema | left mass", True, 2 / 3),
        ("mass", "edema | mass", False, 2 / 3),
        ("", "", False, 1.0),
        ("mass", "", False, 0.0),
        ("", "mass", True, 0.0),
        ("no no", "no", False, 2 / 3),
    ],
)
def test_value_token_f1(predicted: str, answer: str, any_one: bool, expected: float) -> None:
    assert token_f1(predicted, answer, any_one) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("several", "choices", "expected"),
    [
        ("", None, ["b", "c"]),
        ("", ["a | c", ""], ["a", "c"]),
        ("", ["z | y", "b"], ["b", "b"]),  # of unknown choices the likeliest answer, which is wrong
        ("all", None, ["a | b", ""]),
        ("all", ["a | c", "b"], ["a", ""]),
        ("any", None, ["b", "c"]),
    ],
)
def test_value_what_is_predicted(several: str, choices: list[str] | None, expected: list[str]) -> None:
    task = VQATask(backbone="mpma_vit_t16")
    task.classes, task.number, task.several = ["a", "b", "c"], {"a": 0, "b": 1, "c": 2}, several
    logits = torch.tensor([[1.0, 2.0, -1.0], [-3.0, -2.0, -1.0]])
    assert task.chosen(logits, {} if choices is None else {"choices": choices}) == expected
    assert task.targets(["a | c", ""]).tolist() == [[1, 0, 1], [0, 0, 0]]
