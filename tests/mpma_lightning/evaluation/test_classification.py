"""Classification scores, thresholds, intervals, the label loss, heads and their training: values by hand or sklearn."""

import math
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Trainer
from memory_data import MemoryData
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from data_modules.errors import UserError
from mpma_lightning.evaluation.classification import (
    auroc_interval,
    best_thresholds,
    classification_scores,
    exclusive_scores,
    weighted_auroc,
)
from mpma_lightning.evaluation.epoch import Rows
from mpma_lightning.evaluation.head_training import ProbeOptions, train_head
from mpma_lightning.evaluation.metric import Metric, by_name, count
from mpma_lightning.evaluation.zero_shot import Prompts, ZeroShotEvaluator, combine, ensemble_directions, standardise
from mpma_lightning.heads.linear_head import linear_head
from mpma_lightning.objectives.labels import label_loss
from mpma_lightning.optim import Optim
from mpma_lightning.protocols import LabelProtocol, label_protocol, protocol_named
from mpma_lightning.tasks.classification import ClassificationTask
from mpma_lightning.tasks.linear_probe import LinearProbeTask, _summary
from mpma_lightning.tasks.zero_shot import ZeroShotTask

NAN = float("nan")


def named(name: str) -> LabelProtocol:
    return protocol_named(name, LabelProtocol)


def draw(rows: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = (rng.random((rows, 3)) < 0.3).astype(float)
    return labels, np.round(labels * 0.3 + rng.random((rows, 3)), 1)  # rounding makes ties


def test_value_scores_equal_sklearn_on_the_known_labels() -> None:
    labels, scores = draw()
    labels[::5, 1] = np.nan
    found = by_name(classification_scores(labels, scores, ["a", "b", "c"], np.array([0.5, 0.7, 0.9])))
    known = ~np.isnan(labels[:, 1])
    truth, score = labels[known, 1], scores[known, 1]
    assert found["auroc/b"] == roc_auc_score(truth, score)
    assert found["ap/b"] == average_precision_score(truth, score)
    assert found["f1/b"] == f1_score(truth, score >= 0.7)
    assert found["auroc"] == pytest.approx(np.mean([found[f"auroc/{name}"] for name in "abc"]))


def test_value_by_hand() -> None:
    labels, scores = np.array([[1.0], [0], [1], [0]]), np.array([[0.9], [0.8], [0.7], [0.1]])
    found = by_name(classification_scores(labels, scores, ["a"], np.array([0.5])))
    assert found["auroc"] == 0.75 and found["ap"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["f1"] == pytest.approx(2 * 2 / (2 * 2 + 1))


def test_value_classes_without_both_values_are_left_out() -> None:
    labels, scores = draw()
    labels[:, 0], labels[:, 1] = np.nan, 0
    found = by_name(classification_scores(labels, scores, ["a", "b", "c"]))
    assert found["classes_scored"] == 1 and found["auroc"] == found["auroc/c"] and "auroc/a" not in found
    assert by_name(classification_scores(labels * np.nan, scores, ["a", "b", "c"])) == {"classes_scored": 0}


def test_value_thresholds_give_the_best_f1() -> None:
    labels, scores = draw()
    thresholds = best_thresholds(labels, scores, 0.5)
    for k in range(3):
        best = max(f1_score(labels[:, k], scores[:, k] >= t) for t in np.unique(scores[:, k]))
        assert f1_score(labels[:, k], scores[:, k] >= thresholds[k]) == pytest.approx(best)
    assert best_thresholds(labels * np.nan, scores, 0.5).tolist() == [0.5] * 3


def test_value_exclusive_classes() -> None:
    labels = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0], [NAN, NAN, NAN]])
    scores = np.array([[0.8, 0.1, 0.1], [0.1, 0.7, 0.2], [0.9, 0.05, 0.05], [0, 0, 1]])
    found = by_name(exclusive_scores(labels, scores))
    assert found["accuracy"] == pytest.approx(2 / 3) and found["f1_likeliest"] == pytest.approx(2 / 3)
    assert exclusive_scores(labels[3:], scores[3:]) == {}


def test_value_weighted_auroc_equals_repeated_rows() -> None:
    labels, scores = draw(60)
    weight = np.random.default_rng(1).integers(0, 4, 60)
    rank = np.unique(scores[:, 0], return_inverse=True)[1]
    expected = roc_auc_score(np.repeat(labels[:, 0], weight), np.repeat(scores[:, 0], weight))
    assert weighted_auroc(labels[:, 0] == 1, rank, weight) == pytest.approx(expected)
    assert math.isnan(weighted_auroc(np.zeros(60, bool), rank, weight))


def test_value_interval_holds_the_estimate_and_widens_with_few_patients() -> None:
    labels, scores = draw(400)
    value = by_name(classification_scores(labels, scores, ["a", "b", "c"]))["auroc"]
    low, high = auroc_interval(labels, scores, np.arange(400), draws=200)
    assert low < value < high
    few = np.repeat(np.arange(8), 50)
    order = np.argsort(labels[:, 0], kind="stable")  # a patient's images alike
    wide = auroc_interval(labels[order], scores[order], few, draws=200)
    assert wide[1] - wide[0] > high - low
    assert all(math.isnan(end) for end in auroc_interval(labels * np.nan, scores, few, draws=5))


def test_value_label_loss_leaves_unknown_labels_out() -> None:
    logits = torch.tensor([[0.0, 2.0], [1.0, -1.0]], requires_grad=True)
    total, count = label_loss(logits, torch.tensor([[1.0, NAN], [0.0, NAN]]), exclusive=False)
    assert count == 2 and float(total.detach()) == pytest.approx(math.log(2) + math.log(1 + math.e))
    total.backward()
    assert logits.grad is not None and (logits.grad[:, 1] == 0).all() and (logits.grad[:, 0] != 0).all()


def test_value_exclusive_label_loss() -> None:
    logits = torch.tensor([[0.0, 0.0], [5.0, 1.0], [3.0, 3.0]])
    total, count = label_loss(logits, torch.tensor([[0.0, 1.0], [NAN, NAN], [1.0, 1.0]]), exclusive=True)
    assert count == 1 and float(total) == pytest.approx(math.log(2))
    total, count = label_loss(logits, torch.full((3, 2), NAN), exclusive=False)
    assert count == 0 and total == 0


def test_value_a_probe_summarises_every_metric_with_a_direction() -> None:
    calibration = Metric("calibration", higher_is_better=False, unit="error")
    runs = [{calibration: 0.2, calibration.of("Edema"): 1.0, count("scored"): 3.0}, {calibration: 0.4}]
    assert by_name(_summary(0.1, runs)) == pytest.approx(
        {
            "fraction_0.1/calibration": 0.3,
            "fraction_0.1/calibration_sd": np.sqrt(0.02),
            "fraction_0.1/calibration/Edema": 1.0,
        }
    )


def head_of(width: int, outputs: int, protocol: str) -> torch.nn.Sequential:
    fixed = named(protocol)
    return linear_head(
        width, outputs, norm=fixed.norm, norm_eps=fixed.norm_eps, init=fixed.init, init_std=fixed.init_std,
        zero_bias=fixed.zero_bias, two_outputs=fixed.two_outputs,
    )  # fmt: skip


def test_value_protocols_decide_the_head() -> None:
    ours, mgca = (head_of(64, 5, name) for name in ("cls-finetune", "cls-linear-stored"))
    assert isinstance(ours[0], torch.nn.LayerNorm) and isinstance(mgca[0], torch.nn.Identity)
    assert 0.01 < ours[1].weight.std() < 0.03 and (ours[1].bias == 0).all()
    assert mgca[1].weight.std() > 0.04
    # BenchX unifier/blocks/classifier/classifier.py, MRM NIH_ChestX-ray/train.py and models_vit.py
    benchx, mrm = (head_of(64, 5, name) for name in ("cls-finetune-benchx", "cls-finetune-mrm"))
    for head in (benchx, mrm):
        assert 1e-5 < head[1].weight.std() < 3e-5 and head[0].eps == 1e-6
    assert (mrm[1].bias == 0).all() and 0.05 < benchx[1].bias.abs().max() <= 1 / 8
    assert benchx[1].out_features == 10 and mrm[1].out_features == 5
    assert named("cls-finetune-benchx").encoder_lr == 0.1 and named("cls-finetune-mrm").drop_path == 0.1
    assert named("cls-finetune-benchx").drop_path == 0 and named("cls-finetune-mrm").encoder_lr == 1
    with pytest.raises(UserError, match="did you mean 'cls-finetune-mrm'"):
        label_protocol("cls-finetune-mrn", frozen=False, reads="image")


def test_value_two_outputs_are_a_cross_entropy() -> None:
    torch.manual_seed(0)
    head = linear_head(8, 1, norm=True, two_outputs=True)
    x, truth = torch.randn(6, 8), torch.tensor([0, 1, 1, 0, 1, 0])
    ours, count = label_loss(head(x), truth.unsqueeze(1).float(), exclusive=False)
    published = torch.nn.functional.cross_entropy(head[1](head[0](x)), truth)
    assert torch.allclose(ours / count, published)
    gradients = [torch.autograd.grad(loss, head[1].weight)[0] for loss in (ours / count, published)]
    assert torch.allclose(*gradients, atol=1e-7)


@pytest.mark.parametrize(
    ("task", "options", "line"),
    [
        (ClassificationTask, {"protocol": "cls-linear-stored"}, r"trains only the head .* use cls-finetune or"),
        (
            LinearProbeTask,
            {"protocol": "cls-finetune-mrm"},
            r"trains all weights .* use cls-linear-stored or",
        ),
        (ClassificationTask, {"input": "both"}, r"cls-finetune trains .* reads image; .* use cls-multimodal"),
        (LinearProbeTask, {"probe": ProbeOptions(lr=0.1)}, r"cls-linear-stored trains heads as .* found .*lr=0.1"),
    ],
)
def test_error_a_protocol_of_another_task(task: type[ClassificationTask], options: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line):
        task(backbone="mpma_vit_t16", **options)


def test_value_protocols_that_the_tasks_keep_to() -> None:
    LinearProbeTask(backbone="mpma_vit_t16", protocol="cls-linear", probe=ProbeOptions(lr=0.1))
    for kind in ("image", "text", "both"):
        ClassificationTask(backbone="mpma_vit_t16", protocol="cls-multimodal", input=kind)  # type: ignore[arg-type]


def test_value_a_head_learns_and_keeps_its_best_epoch() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 4, generator=generator)
    y = torch.stack([(x[:, 0] > 0).float(), (x[:, 1] > 0).float()], 1)
    y[::3, 1] = NAN
    options = ProbeOptions(lr=0.05, max_epochs=40, patience=5)
    torch.manual_seed(0)
    head = head_of(4, 2, "cls-linear")
    start = label_loss(head(x[200:]), y[200:], False)[0].item()
    epoch = train_head(head, (x[:200], y[:200]), (x[200:], y[200:]), options, False, seed=0)
    assert epoch > 3 and label_loss(head(x[200:]), y[200:], False)[0].item() < start / 3
    wrong = 1 - y[200:]
    frozen = head_of(4, 2, "cls-linear")
    before = frozen[1].weight.detach().clone()
    epoch = train_head(frozen, (x[:200], y[:200]), (x[200:], wrong), options, False, seed=0)
    assert epoch == 1 and not torch.equal(frozen[1].weight, before)  # validation only gets worse after the first


def test_value_rows_are_gathered_and_start_afresh() -> None:
    rows = Rows()
    rows.add(id=["a", "b"], scores=torch.ones(2, 3))
    rows.add(id=["c"], scores=torch.zeros(1, 3))
    found = rows.gather()
    assert found["id"].tolist() == ["a", "b", "c"] and found["scores"].shape == (3, 3) and rows.gather() == {}


def test_value_positive_prompts_alone_score_by_the_best_of_a_class() -> None:
    """As GLoRIA's zero_shot_classification: ``similarities.max(axis=1)`` of each class."""
    prompts = Prompts(
        {"Edema": ["a", "b"], "Atelectasis": ["c"]}, {"Edema": ["n"], "Atelectasis": ["m"]}, frozenset(), frozenset()
    )
    evaluator = ZeroShotEvaluator(prompts, ["Atelectasis", "Edema"], positives_only=True)
    assert evaluator.texts == ["c", "a", "b"] and evaluator.sizes == [1, 2]
    assert evaluator.best(torch.tensor([[0.1, 0.3, 0.2], [0.5, -0.1, 0.0]])).tolist() == [
        pytest.approx([0.1, 0.3]),
        pytest.approx([0.5, 0.0]),
    ]
    with pytest.raises(UserError, match=r"model\.multiclass"):
        ZeroShotTask(backbone="mpma_vit_t16", protocol="zs-5x200")


def test_value_zero_shot_ensembles_and_combination() -> None:
    matrix = ensemble_directions([2, 1, 1, 3])
    similarity = torch.tensor([[1.0, 3.0, 0.5, 4.0, 1.0, 2.0, 3.0]])
    torch.testing.assert_close(similarity @ matrix, torch.tensor([[2 - 0.5, 4.0 - 2.0]]))
    scores = np.array([[1.0, 5.0], [3.0, 5.0]])
    np.testing.assert_allclose(standardise(scores), [[-1, 0], [1, 0]])
    np.testing.assert_allclose(combine([scores, 10 * scores[::-1]]), np.zeros((2, 2)))


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam)])
def test_value_optimisers_by_name(name: str, kind: type[torch.optim.Optimizer]) -> None:
    optim = Optim(algorithm=name, lr=0.5, reference_batch=None, momentum=0.8, scale={"weight": 0.1})  # type: ignore[arg-type]
    optimizer, _ = optim.build(torch.nn.Linear(2, 2), 8, 10)
    assert type(optimizer) is kind and sorted(group["initial_lr"] for group in optimizer.param_groups) == [0.05, 0.5]
    if name == "sgd":
        assert optimizer.param_groups[0]["momentum"] == 0.8


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_error_probe_fractions(share: float) -> None:
    with pytest.raises(UserError, match=rf"model.fractions is \(0.1, {share}\); expected shares above 0"):
        LinearProbeTask(backbone="mpma_vit_t16", fractions=(0.1, share))


@pytest.mark.parametrize(
    ("settings", "share", "line"),
    [
        ({"max_epochs": 2}, 1.0, "trainer.max_epochs is 2; expected 1"),
        ({"max_epochs": -1, "max_steps": 3}, 1.0, "trainer.max_epochs is -1; expected 1"),
        ({"val_check_interval": 0.5}, 1.0, "trainer.val_check_interval is 0.5; expected 1.0"),
        ({"val_check_interval": 1}, 1.0, "trainer.val_check_interval is 1; expected 1.0"),
        ({"limit_train_batches": 1}, 1.0, "trainer.limit_train_batches is 1; expected 1.0"),
        ({}, 0.1, "data.label_fraction is 0.1; expected 1"),
        ({}, 1.0, None),
        ({"fast_dev_run": True, "max_epochs": 9}, 1.0, None),
    ],
)
def test_error_a_probe_that_would_not_see_every_image_once(
    settings: dict[str, Any], share: float, line: str | None
) -> None:
    task = LinearProbeTask(backbone="mpma_vit_t16")
    task.trainer = Trainer(**{"max_epochs": 1, "accelerator": "cpu", "logger": False, **settings})
    task.trainer.datamodule = MemoryData(label_fraction=share)  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=f"^{line}") if line else nullcontext():
        task.on_fit_start()
