"""Scores of frequent and rare classes apart."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import torch
from every_task import EVALUATE, SPEC, build, rows

from data_modules.errors import UserError
from mpma_lightning.evaluation.classification import classification_scores
from mpma_lightning.evaluation.long_tail import MAP, group_of, long_tail_scores
from mpma_lightning.evaluation.metric import by_name
from mpma_lightning.protocols import LabelProtocol, protocol_named
from mpma_lightning.tasks.classification import ClassificationTask

BOUNDS = (0.1, 0.01)


@pytest.mark.parametrize(
    ("share", "group"), [(0.5, "head"), (0.1, "medium"), (0.01, "medium"), (0.0099, "tail"), (0.0, "tail")]
)
def test_value_groups(share: float, group: str) -> None:
    assert group_of(share, BOUNDS) == group
    assert protocol_named("cls-cxr-lt", LabelProtocol).long_tail == BOUNDS


def test_value_groups_of_cxr_lt_2024() -> None:
    """Positives among the 258,871 training images of task 1, as public readers of the table count them."""
    positives = [86079, 77482, 74738, 66401, 65376, 46660, 37256, 34292, 29628, 15371, 13858, 11568, 10087, 8919, 7531,
                 5288, 4239, 3986, 3661, 3409, 3336, 3272, 2965, 2803, 2338, 2046, 2078, 1631, 1169, 903, 778, 704,
                 727, 646, 616, 516, 199, 172, 168, 129]  # fmt: skip
    groups = [group_of(count / 258_871, BOUNDS) for count in positives]
    assert [groups.count(name) for name in ("head", "medium", "tail")] == [9, 15, 16]


def test_value_by_hand() -> None:
    """Two of the head, one of the tail, one medium class without a positive, which is scored nowhere."""
    labels = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, np.nan]], float)
    scores = np.array([[0.9, 0.1, 0.3, 0.2], [0.1, 0.8, 0.2, 0.8], [0.8, 0.2, 0.1, 0.1], [0.2, 0.3, 0.1, 0.9]])
    classes = ["a", "b", "none", "rare"]
    shares = {"a": 0.5, "b": 0.2, "none": 0.05, "rare": 0.001}
    found = by_name(long_tail_scores(classification_scores(labels, scores, classes), labels, classes, shares, BOUNDS))
    # a: both positives first; b: 0.8, 0.3 (negative), 0.2; rare: 0.8 (negative), 0.2, 0.1 (negative)
    assert found["auroc_head"] == pytest.approx((1 + 3 / 4) / 2) and found["auroc_tail"] == pytest.approx(1 / 2)
    assert found["ap_head"] == pytest.approx((1 + (1 + 2 / 3) / 2) / 2) and found["ap_tail"] == pytest.approx(1 / 2)
    assert found["prevalence_head"] == 0.5 and found["prevalence_tail"] == pytest.approx(1 / 3)
    assert [found[f"classes_{group}"] for group in ("head", "medium", "tail")] == [2, 0, 1]
    assert "auroc_medium" not in found and "auroc/none" not in found
    assert found["ap"] == pytest.approx((1 + 5 / 6 + 1 / 2) / 3)
    assert found["prevalence"] == pytest.approx((0.5 + 0.5 + 1 / 3) / 3)


def test_value_a_constant_score_has_the_prevalence_as_its_ap() -> None:
    labels = (np.random.default_rng(0).random((500, 3)) < [0.4, 0.05, 0.02]).astype(float)
    classes = ["x", "y", "z"]
    found = classification_scores(labels, np.zeros((500, 3)), classes)
    told = by_name(
        long_tail_scores(found, labels, classes, dict(zip(classes, [0.4, 0.05, 0.002], strict=True)), BOUNDS)
    )
    for group in ("head", "medium", "tail"):
        assert told[f"ap_{group}"] == pytest.approx(told[f"prevalence_{group}"]) and told[f"auroc_{group}"] == 0.5


@pytest.fixture
def usual_kind() -> Iterator[None]:
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("usual_kind")
def test_value_the_task_reports_groups_of_its_training_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EVALUATE, "long tail", partial(ClassificationTask, backbone=SPEC, protocol="cls-cxr-lt"))
    task, batch, _, logged = build("long tail")
    assert isinstance(task, ClassificationTask)
    task.eval()
    task.on_validation_start()
    task.validation_step(rows(batch, list(range(13))), 0)
    task.on_validation_epoch_end()
    shares = {name: count / 13 for name, count in task.data_spec.train_positives.items()}
    assert task.shares == pytest.approx(shares) and logged["val/classes_head"] == sum(s > 0.1 for s in shares.values())
    assert logged["val/auroc_head"] == pytest.approx(logged["val/auroc"]) and MAP.name in task.declared
    task.shares = {}
    known = {"names": task.classes, "exclusive": False, "thresholds": None}
    with pytest.raises(UserError, match="does not know how frequent its classes were; test it under its own protocol"):
        task.take_head(known)
    task.take_head(known | {"shares": shares})
    assert task.head_entries()["shares"] == shares
