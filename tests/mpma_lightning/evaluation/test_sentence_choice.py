"""Sentences choose between two images, by hand and at chance."""

import pytest
import torch
from model_fixtures import small_sentences
from torch import Tensor
from torch.nn.functional import normalize

from mpma_lightning.evaluation.metric import by_name
from mpma_lightning.evaluation.sentence_choice import SentenceChoiceEvaluator

PARTNER = torch.tensor([1, 2, 3, 0])
"""Reports 0 to 3 have the sentences 0 1, 2, 0 3 4 and 5 1; 0 and 1 are negated."""


def chosen(queries: Tensor, patches: Tensor) -> dict[str, float]:
    evaluator = SentenceChoiceEvaluator()
    evaluator.add(small_sentences(4), queries, patches, PARTNER)
    return by_name(evaluator.compute())


def test_value_by_hand() -> None:
    """Every image has one patch, along one axis; a sentence along the axis of its image chooses it."""
    axes = torch.eye(4, dtype=torch.float64)
    patches = axes[:4].unsqueeze(1)
    # 0 in reports 0 and 2, 1 in 0 and 3, 2 in 1, 3 and 4 in 2, 5 in 3
    queries = torch.stack([axes[0], axes[1], axes[1], axes[2], axes[3], axes[3]])
    # negated: 0 of report 0 beside image 1: right; 0 of report 2 beside image 3: equal. 1 of report 0 beside image 1:
    # wrong; 1 of report 3 is in report 0 too, and does not count.
    # positive: 2 right, 3 right, 4 wrong, 5 right
    assert chosen(queries, patches) == {
        "sentence_choice/negated": pytest.approx(1.5 / 3), "sentence_choice/positive": 3 / 4
    }  # fmt: skip


def test_value_at_chance_half_are_right() -> None:
    draw, evaluator = torch.Generator().manual_seed(0), SentenceChoiceEvaluator()
    for _ in range(400):
        queries, patches = (normalize(torch.randn(*size, generator=draw), dim=-1) for size in ((6, 8), (4, 5, 8)))
        evaluator.add(small_sentences(4), queries, patches, PARTNER)
    for value in by_name(evaluator.compute()).values():
        assert value == pytest.approx(0.5, abs=0.05)


def test_value_nothing_to_choose() -> None:
    sentences = small_sentences(4)
    sentences.slot = torch.zeros(4, 1, dtype=torch.long)
    evaluator = SentenceChoiceEvaluator()
    evaluator.add(sentences, torch.ones(6, 2), torch.ones(4, 1, 2), PARTNER)
    assert evaluator.compute() == {}
