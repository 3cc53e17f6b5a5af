"""The last lines of a run."""

from dataclasses import replace
from pathlib import Path

import pytest

from mpma_lightning.evaluation.both_directions import hit
from mpma_lightning.evaluation.metric import Metric, Scores, by_name, count, loss, reference, with_interval
from mpma_lightning.runs.ending import digits, ending, headlines, title

AUROC = Metric("auroc", unit="share", headline=True, baseline=0.5)


def shown(scores: Scores, every: bool = False) -> list[str]:
    return headlines(by_name(scores), {metric.name: metric for metric in scores}, every)


def test_value_a_line_has_digits_interval_and_baseline() -> None:
    found = shown({AUROC: 0.87345, **with_interval(AUROC, (0.8512, 0.9)), count("pairs"): 766.0})
    assert [" ".join(line.split()) for line in found] == ["↑ auroc 0.873 [0.851, 0.900] baseline 0.500"]
    error = loss("image_loss", headline=True, baseline="interpolation")
    line = shown({error: 0.5, reference("interpolation", "error"): 0.75})
    assert [" ".join(row.split()) for row in line] == ["↓ image_loss 0.500 interpolation 0.750"]


def test_value_baselines_of_parts_and_settings() -> None:
    accuracy = Metric("accuracy", unit="share", headline=True, baseline="question_only")
    blind = reference("question_only", headline=True)
    open_ = Metric("accuracy/open", unit="share", headline=True, baseline="question_only")
    scores = {accuracy: 0.6, open_: 0.4, blind: 0.5, reference("question_only/open"): 0.25}
    scores |= {hit("i2t", "r", 5).under("rerank"): 0.3, reference("chance_r5"): 0.01}
    found = [line.split()[1:] for line in shown(scores)]
    assert found == [
        ["accuracy", "0.600", "question_only", "0.500"],
        ["accuracy/open", "0.400", "question_only/open", "0.250"],
        ["rerank/i2t_r5", "0.300", "chance_r5", "0.0100"],
    ]


def test_value_at_most_eight_with_the_last_of_a_family() -> None:
    scores: dict[Metric, float] = {hit(way, "r", k): k / 20 for way in ("i2t", "t2i") for k in (1, 5, 10)}
    scores |= {Metric(f"m{letter}", unit="ratio", headline=True): 1.0 for letter in "abcde"}
    names = [line.split()[1] for line in shown(scores)]
    assert names == ["i2t_r1", "i2t_r10", "t2i_r10", *(f"m{letter}" for letter in "abcde")]
    assert len(shown(scores, every=True)) == 11


def test_value_metrics_with_a_baseline_follow_the_headlines() -> None:
    scores: dict[Metric, float] = {replace(hit("i2t", "r", k), headline=False): k / 20 for k in (1, 5, 10)}
    scores |= {reference("chance_r10"): 0.01, Metric("other", unit="ratio"): 1.0, AUROC: 0.5}
    assert [line.split()[1] for line in shown(scores)] == ["i2t_r10", "auroc"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "0.500"), (5.3634, "5.36"), (123.4, "123"), (766, "766"), (12345.6, "12,346")]
)
def test_value_digits(value: float, text: str) -> None:
    assert digits(value) == text


def test_value_results_pictures_next(tmp_path: Path) -> None:
    assert [*ending(tmp_path, "results.json", "go")] == [f"results:  {tmp_path}/results.json", "next:     go"]
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/a.png").touch()
    assert [*ending(tmp_path, "r", "go")][1] == f"pictures: {tmp_path}/pictures (1)"
    assert len([*ending(tmp_path, "r", "go", draws=False)]) == 2


def test_value_titles() -> None:
    record = {"dataset": "X", "split_sizes": {"val": 5, "test": 1200}, "steps": 30, "weights": "random"}
    assert title("fit", record) == "fit of X, 5 validation samples, after 30 steps"
    assert title("test", record) == "test of X, 1,200 test samples, weights: random"
    assert title("predict", record) == "predict of X, weights: random"  # which samples is said where they are written
