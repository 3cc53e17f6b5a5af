"""Declared metrics, the bootstrap that all intervals share, and the table of samples."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import torch
from every_task import EVALUATE, build, rows
from hypothesis import given
from hypothesis import strategies as st

from mpma_lightning.evaluation.bootstrap import bootstrap, interval_of, mean_interval
from mpma_lightning.evaluation.classification import AUROC, prepare_ranks, weighted_auroc
from mpma_lightning.evaluation.metric import Metric, by_name, declared, loss, reference, with_interval
from mpma_lightning.evaluation.samples import SampleTable, weighted_metric


@pytest.fixture
def usual_kind() -> Iterator[None]:
    yield
    torch.set_default_dtype(torch.float32)


def test_error_a_metric_without_unit() -> None:
    with pytest.raises(TypeError, match="unit"):
        Metric("age_error", False)  # type: ignore[call-arg]


def test_value_every_task_has_its_headlines_below() -> None:
    kinds = {kind.func for name, kind in EVALUATE.items() if name in HEADLINES}
    missing = {kind.func.__name__ for kind in EVALUATE.values()} - {kind.__name__ for kind in kinds}
    assert not missing, f"add a line to HEADLINES in {__file__}, with the headline metrics of {missing}"


def test_value_metrics_about_metrics() -> None:
    ends = with_interval(AUROC.under("global"), (0.4, 0.6))
    assert by_name(ends) == {"global/auroc_low": 0.4, "global/auroc_high": 0.6}
    assert all(end.higher_is_better is None and not end.headline and end.unit == "share" for end in ends)
    assert loss("loss").mode == "min" and AUROC.mode == "max"
    for metric in (AUROC, loss("mask_loss"), reference("chance_r5")):
        assert declared(metric.name, metric.declaration()) == metric


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=10), st.integers(1, 4))
def test_value_bootstrap_draws_patients_with_all_their_rows(values: list[float], per_patient: int) -> None:
    column = np.repeat(values, per_patient)
    patients = np.repeat(np.arange(len(values)), per_patient)
    drawn = bootstrap(patients, lambda draw: float(draw.weight @ column / draw.weight.sum()), draws=20)
    alone = bootstrap(np.arange(len(values)), lambda draw: float(np.mean(np.array(values)[draw.units])), draws=20)
    assert drawn == pytest.approx(alone, abs=1e-12)
    low, high = interval_of(drawn)
    assert min(values) - 1e-12 <= low <= high <= max(values) + 1e-12


def test_value_bootstrap_by_hand() -> None:
    """The draws are those of numpy's generator, patient by patient in the order of their names."""
    unit, values = np.array(["b", "a", "b"]), np.array([1.0, 2.0, 4.0])
    generator, expected = np.random.default_rng(5), []
    for _ in range(30):
        chosen = generator.integers(0, 2, 2)
        of_draw = [value for place in chosen for value in ([2.0], [1.0, 4.0])[place]]
        expected.append(np.mean(of_draw))
    assert mean_interval(values, unit, draws=30, seed=5) == tuple(np.percentile(expected, [2.5, 97.5]))
    assert all(np.isnan(end) for end in interval_of(np.full(3, np.nan)))


def test_value_table_of_samples() -> None:
    generator = np.random.default_rng(0)
    labels, scores = (generator.random((30, 2)) < 0.4).astype(float), generator.random((2, 30, 2))
    ids = np.array([f"s{i}" for i in range(30)], object)
    dice = Metric("dice", unit="share", per_sample="mean")
    table = SampleTable(
        ids, ids, {dice: labels[:, 0]}, classes=["x", "y"], labels=labels, scores={(AUROC, "0"): scores[0]}
    )
    table.scores[AUROC, "1"] = scores[1]
    frame = table.frame()
    heads = [f"auroc#{head}@{name}" for head in "01" for name in "xy"]
    assert list(frame) == ["id", "patient", "label/x", "label/y", "dice", *heads]
    macro, mean = weighted_metric(frame, AUROC), weighted_metric(frame, dice)
    assert macro and mean and weighted_metric(frame, Metric("accuracy", unit="share", per_sample="mean")) is None
    ones = np.ones(30)
    areas = []
    for own in scores:
        for k in range(2):
            _, truth, rank = prepare_ranks(labels[:, k], own[:, k])
            areas.append(weighted_auroc(truth, rank, ones))
    assert macro(ones) == pytest.approx(np.mean(areas)) and mean(ones) == labels[:, 0].mean()


UNSCORED = {"accuracy", "f1_likeliest", "f1"}
"""Of labels: only of exclusive classes, or with thresholds."""
HEADLINES = {
    "pretraining": {"image_reconstruction_loss", "report_reconstruction_loss", "local_gap"},
    "image labels": {"auroc"},
    "exclusive labels": {"auroc", "accuracy"},
    "linear probe": {"fraction_1/auroc"},
    "zero-shot": {f"{kind}/auroc" for kind in ("global", "local", "combined")},
    "retrieval": {f"{way}_r{k}" for way in ("i2t", "t2i") for k in (1, 5, 10)},
    "rerank": {f"{kind}{way}_r{k}" for kind in ("", "rerank/") for way in ("i2t", "t2i") for k in (1, 5, 10)},
    "segmentation": {"dice", "dice_positive", "dice_empty_prediction", "dice_positive_mean_mask"},
    "detection": {"map", "map_50", "map_40_75_mgca"},
    "number": {"age_error"},
    "progression": {"macro_accuracy", "accuracy"},
    "reports": {"finding_f1", "finding_f1_macro", "bleu_4", "rouge_l", "cider"},
    "grounding": {"pointing_game", "signed_cnr", "absolute_cnr", "random_patch", "centre_of_named_lung"},
    "vqa": {"accuracy", "accuracy/open", "accuracy/closed", "accuracy/contrasted", "question_only"},
}


@pytest.mark.usefixtures("usual_kind")
@pytest.mark.parametrize("name", sorted({*HEADLINES} & {*EVALUATE}))
@torch.no_grad()
def test_value_every_logged_metric_is_declared(name: str) -> None:
    task, batch, _, logged = build(name)
    task.eval()
    task.on_validation_start()
    places = list(range(13))
    if name == "linear probe":
        task.training_step(rows(batch, places), 0)
    task.validation_step(rows(batch, places), 0)
    task.on_validation_epoch_end()
    assert {key.removeprefix("val/") for key in logged} == set(task.declared)
    found = {name for name, metric in task.declared.items() if metric.headline}
    assert found == HEADLINES[name], f"HEADLINES[{name!r}] in {__file__} lists the metrics that tables show"
    assert {metric.name for metric in task.selectable if task.trainer.state.fn == "fit"} - UNSCORED <= {*task.declared}
    neutral = ("_low", "_high", "_sd", "alpha", "pairs", "chance", "phrases", "questions", "classes_scored")
    for metric in task.declared.values():
        if metric.name.endswith("loss") or "median_rank" in metric.name:
            assert metric.higher_is_better is False and metric.unit in ("loss", "rank")
        elif any(word in metric.name for word in neutral):
            assert metric.higher_is_better is None
    if task.monitor is not None:
        assert task.declared[task.monitor.name] == task.monitor


def test_value_frames_are_written_as_parquet(tmp_path) -> None:
    table = SampleTable(np.array(["a"], object), np.array([7]), {Metric("dice", unit="share"): np.array([0.5])})
    table.frame().to_parquet(tmp_path / "samples.parquet")
    found = pd.read_parquet(tmp_path / "samples.parquet")
    assert found.to_dict("list") == {"id": ["a"], "patient": ["7"], "dice": [0.5]}
