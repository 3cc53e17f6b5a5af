"""Our metrics beside torchmetrics, on random inputs of the kind that both define alike; the focal loss beside ours."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchmetrics.functional as tm
from torchmetrics.functional.retrieval import retrieval_hit_rate
from torchmetrics.functional.segmentation import dice_score
from torchvision.ops import sigmoid_focal_loss

from mpma_lightning.evaluation.classification import classification_scores, exclusive_scores
from mpma_lightning.evaluation.metric import by_name
from mpma_lightning.evaluation.retrieval import rank_queries
from mpma_lightning.evaluation.segmentation import per_image, segmentation_scores

SEEDS = pytest.mark.parametrize("seed", range(4))


@SEEDS
def test_value_classification(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = (generator.random((80, 3)) < 0.3).astype(float)
    scores = np.round(generator.random((80, 3)) * 0.7 + labels * 0.3, 1)  # with ties
    labels[generator.random((80, 3)) < 0.1] = np.nan
    found = by_name(classification_scores(labels, scores, ["a", "b", "c"], np.full(3, 0.5)))
    for k, name in enumerate("abc"):
        known = ~np.isnan(labels[:, k])
        score, truth = torch.tensor(scores[known, k]), torch.tensor(labels[known, k]).long()
        assert found[f"auroc/{name}"] == pytest.approx(float(tm.auroc(score, truth, task="binary")), abs=1e-6)
        assert found[f"ap/{name}"] == pytest.approx(float(tm.average_precision(score, truth, task="binary")), abs=1e-6)
        predicted = (score >= 0.5).long()
        assert found[f"f1/{name}"] == pytest.approx(float(tm.f1_score(predicted, truth, task="binary")), abs=1e-6)


@SEEDS
def test_value_exclusive_classes(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth, scores = generator.integers(0, 4, 60), generator.random((60, 4))
    found = by_name(exclusive_scores(np.eye(4)[truth], scores))
    options = {"task": "multiclass", "num_classes": 4}
    inputs = (torch.tensor(scores), torch.tensor(truth))
    accuracy, f1 = (
        float(metric(*inputs, average=average, **options))
        for metric, average in ((tm.accuracy, "micro"), (tm.f1_score, "macro"))
    )
    assert (found["accuracy"], found["f1_likeliest"]) == (pytest.approx(accuracy), pytest.approx(f1))


@SEEDS
def test_value_dice_of_images_with_the_structure(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    predicted, truth = (torch.randint(0, 2, (9, 1, 8, 8), generator=generator) for _ in range(2))
    counts = [values.sum((1, 2, 3)).numpy() for values in (predicted & truth, predicted, truth)]
    theirs = dice_score(predicted, truth, num_classes=1, include_background=True, average="micro")
    assert per_image(*counts)[0] == pytest.approx(theirs.reshape(-1).numpy(), abs=1e-6)
    assert by_name(segmentation_scores(*counts))["dice_positive"] == pytest.approx(float(theirs.mean()), abs=1e-6)


@SEEDS
def test_value_hit_rate(seed: int) -> None:
    generator = np.random.default_rng(seed)
    query, gallery = generator.normal(size=(30, 5)), generator.normal(size=(30, 5))
    group = generator.integers(0, 12, 30)  # several positives, no ties
    ours = rank_queries(query, gallery, group, group).recall
    scores, positive = torch.tensor(query @ gallery.T), torch.tensor(group[:, None] == group[None])
    for k, value in ours.items():
        rates = [float(retrieval_hit_rate(row, own, top_k=k)) for row, own in zip(scores, positive, strict=True)]
        assert value == pytest.approx(np.mean(rates))


@SEEDS
def test_value_focal_loss_as_it_was_by_hand(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = (4 * torch.randn(200, generator=generator)).requires_grad_()
    mask = torch.randint(0, 2, (200,), generator=generator).float()
    plain = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    by_hand = ((1 - torch.exp(-plain)).square() * plain).mean()
    theirs = sigmoid_focal_loss(logits, mask, alpha=-1, gamma=2, reduction="mean")
    assert float(theirs) == pytest.approx(float(by_hand), rel=1e-5)
    gradients = [torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (by_hand, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-7)
