"""Settings of local alignment: values by loops in numpy, what is a negative, and errors."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from model_fixtures import small_backbone, small_state

from data_modules.errors import UserError
from mpma_lightning.objectives.local_alignment import LocalAlignmentOptions, swapped_gap
from mpma_lightning.objectives.state import PretrainingState


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def cosines(query: np.ndarray, patches: np.ndarray, weights: np.ndarray) -> np.ndarray:
    context = weights @ patches
    return (query * context / np.linalg.norm(context, axis=1, keepdims=True)).sum(1)


def built(**settings: Any):
    options = LocalAlignmentOptions(**settings)
    backbone = small_backbone(*options.needs)
    return options.build(backbone).double(), small_state(backbone)


def words_board(state: PretrainingState, temperature: float) -> np.ndarray:
    """(images, reports) scores."""
    words, patches = state.local_words, state.local_image.detach().numpy()
    scores = np.zeros((4, 4))
    for image, report in np.ndindex(4, 4):
        query = words.embeddings[report][words.valid[report]].detach().numpy()
        cosine = cosines(query, patches[image], softmax(query @ patches[image].T / temperature))
        scores[image, report] = np.log(np.exp(5 * cosine).mean()) / 5
    return scores


@pytest.mark.parametrize(
    ("settings", "temperature"),
    [
        ({}, 0.1),
        ({"attention_temperature": 0.25}, 0.25),
        ({"attention_temperature": 0.25, "learn_temperature": True}, 0.25),
    ],
)
def test_words_value(settings: dict[str, Any], temperature: float) -> None:
    objective, state = built(**settings)
    total, _ = objective(state)
    scores, group, expected = words_board(state, temperature), state.group.numpy(), 0.0
    for logits in (scores / 0.1, scores.T / 0.1):
        for i in range(4):
            log_p = logits[i] - np.logaddexp.reduce(logits[i])
            positive = group == group[i]
            expected += 0.5 * (-log_p[positive].mean() - np.log(positive.sum()))
    assert float(total.detach()) == pytest.approx(expected, rel=1e-5)


def test_pair_negatives_with_an_attention_temperature_value() -> None:
    same, state = built(negatives="pair", attention_temperature=0.1)
    apart, _ = built(negatives="pair", attention_temperature=0.5)
    usual, _ = built(negatives="pair")
    values = [float(one(state)[0].detach()) for one in (same, apart, usual)]
    assert values[0] == values[2] != values[1]


def test_swapped_gap_value() -> None:
    logits = torch.tensor(np.random.default_rng(0).normal(size=(4, 4)))
    group, expected = [7, 8, 8, 9], []
    for i in range(4):
        j = (i - 1) % 4
        rest = [k for k in range(4) if group[k] not in (group[i], group[j])]
        both = []
        for rows in (logits.numpy(), logits.numpy().T):
            own, other = (np.logaddexp.reduce(rows[i, [*rest, k]]) - rows[i, k] for k in (i, j))
            both.append(other - own)
        expected.append(np.mean(both))
    assert swapped_gap(logits, torch.tensor(group), torch.ones(len(group), dtype=torch.bool)).tolist() == pytest.approx(
        expected
    )


def test_value_gap_is_zero_on_average_where_scores_ignore_the_pair() -> None:
    logits = torch.randn(400, 8, 8, generator=torch.Generator().manual_seed(0)) * 3
    own, every = torch.arange(8), torch.ones(8, dtype=torch.bool)
    gaps = torch.stack([swapped_gap(one, own, every).mean() for one in logits])
    assert abs(float(gaps.mean())) < 3 * float(gaps.std()) / math.sqrt(len(gaps))
    paired = torch.stack([swapped_gap(one + 4 * torch.eye(8), own, every).mean() for one in logits])
    assert 0 < float(paired.mean()) <= 4


def test_error_temperature_of_0() -> None:
    with pytest.raises(UserError, match=r"attention_temperature of local alignment is 0.0; expected more than 0"):
        built(attention_temperature=0.0)
