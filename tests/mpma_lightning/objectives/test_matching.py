"""Image-text matching: negatives and values."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from model_fixtures import build, only, small_state

from mpma_lightning.masking import OTHER_IMAGE_STREAM
from mpma_lightning.objectives.global_alignment import GlobalAlignmentOptions
from mpma_lightning.objectives.image_text_matching import ImageTextMatchingOptions, draw_negatives


def test_draw_negatives_value() -> None:
    similarity = torch.tensor([[1.0, 0.9, 0.0, 0.1]] * 4, dtype=torch.float64) * 0.07
    group, seeds = torch.tensor([5, 5, 6, 7]), torch.arange(40_000).reshape(-1, 4)
    drawn = torch.stack([draw_negatives(similarity, group, seed).squeeze(1) for seed in seeds[:2500]])
    assert not ((drawn[:, :2] == 0) | (drawn[:, :2] == 1)).any() and not (drawn[:, 3] == 3).any()
    # of row 0 columns 2 and 3 remain, with odds 1 : e^0.1; of row 2, columns 0, 1 and 3
    assert float((drawn[:, 0] == 3).double().mean()) == pytest.approx(1 / (1 + math.exp(-0.1)), abs=0.03)
    weights = np.exp([1.0, 0.9, 0.1])
    assert float((drawn[:, 2] == 0).double().mean()) == pytest.approx(weights[0] / weights.sum(), abs=0.03)
    assert draw_negatives(similarity, torch.ones(4, dtype=torch.long), seeds[0], 2).tolist() == [[-1, -1]] * 4


@pytest.mark.parametrize(("pairing", "hard"), itertools.product(["joint", "separate"], [False, True]))
def test_image_text_matching_value(pairing: str, hard: bool) -> None:
    aligned = GlobalAlignmentOptions(weight=float(hard))
    backbone, built = build(only(aligned, ImageTextMatchingOptions(weight=1)))
    assert ("align_global" in backbone.parts) == hard
    objective, state = built["image_text_matching"], small_state(backbone)
    state.pairing = pairing
    total, count = objective(state)
    similarity = state.global_image @ state.global_text.T if hard else torch.zeros(4, 4)
    other_text = draw_negatives(similarity, state.group, state.seed)[:, 0].tolist()
    other_image = draw_negatives(similarity.T, state.group, state.seed, 1, OTHER_IMAGE_STREAM)[:, 0].tolist()
    images = backbone.image(state.image, state.image_mask.visible if pairing == "joint" else None)
    ids = state.report_mask.input_ids if pairing == "joint" else state.input_ids

    def score(image: int, text: int) -> float:
        one = slice(text, text + 1)
        fused = backbone.fuse(images.rows(torch.tensor([image])), None, ids[one], state.attention_mask[one])
        return float(objective.head(fused[0, 0]).detach())

    expected = sum(math.log(1 + math.exp(-score(i, i))) for i in range(4))
    expected += sum(math.log(1 + math.exp(score(i, other_text[i]))) for i in range(4))
    expected += sum(math.log(1 + math.exp(score(other_image[i], i))) for i in range(4))
    assert float(count) == 12 and float(total.detach()) == pytest.approx(expected, rel=1e-5)
    assert all(state.group[i] != state.group[j] for i, j in enumerate(other_text))
    assert 0 <= float(objective.monitor(state)["matching_accuracy"][0]) <= 12


@pytest.mark.parametrize("size", [4, 5])
def test_value_half_of_the_reports_with_another_image(size: int) -> None:
    """Each report is read once; ⌊B / 2⌋ of them, over seeds all alike, with an image of another group."""
    backbone, built = build(only(ImageTextMatchingOptions(weight=1, negatives="half")))
    objective, swapped = built["image_text_matching"], torch.zeros(size)
    for first in range(0, size * 400, size):
        state = SimpleNamespace(
            group=torch.arange(size) // 2, seed=torch.arange(first, first + size), backbone=SimpleNamespace(parts=())
        )
        images, reports, counted = objective._pairs(state)
        other = images != reports
        assert reports.tolist() == list(range(size)) and counted.all() and int(other.sum()) == size // 2
        assert (state.group[images][other] != state.group[reports][other]).all()
        swapped += other
    assert (swapped / 400).numpy() == pytest.approx(np.full(size, size // 2 / size), abs=0.1)
    if size == 4:
        state = small_state(backbone)
        total, count = objective(state)
        images, reports, _ = objective._pairs(state)
        hidden = state.fused_pairs(images, reports)[:, 0].detach()
        weight, bias = objective.head.weight.detach().double(), objective.head.bias.detach().double()
        score = hidden.double() @ weight.T + bias
        sign = torch.where(images == reports, 1.0, -1.0).double()
        expected = (1 + (-sign * score.squeeze(1)).exp()).log().sum()
        assert float(count) == 4 and float(total.detach()) == pytest.approx(float(expected), rel=1e-5)


def test_value_the_two_negatives_of_a_pair_are_drawn_independently() -> None:
    """Of 8 pairs without similarities, the other report and the other image come from one pair in 1 case of 7."""
    _, built = build(only(ImageTextMatchingOptions(weight=1)))
    objective, same = built["image_text_matching"], []
    for first in range(0, 8 * 500, 8):
        state = SimpleNamespace(
            group=torch.arange(8), seed=torch.arange(first, first + 8), backbone=SimpleNamespace(parts=())
        )
        images, reports, _ = objective._pairs(state)
        same.append(reports[8:16] == images[16:])
    assert float(torch.stack(same).double().mean()) == pytest.approx(1 / 7, abs=0.02)


def test_matching_without_negatives_and_missing_input_error() -> None:
    backbone, built = build(only(ImageTextMatchingOptions(weight=1)))
    state = small_state(backbone)
    state.group = torch.ones(4, dtype=torch.long)
    total, count = built["image_text_matching"](state)
    assert float(count) == 4 and torch.isfinite(total)
    _, halved = build(only(ImageTextMatchingOptions(weight=1, negatives="half")))
    total, count = halved["image_text_matching"](state)
    assert float(count) == 4 and torch.isfinite(total)
    state.seed = None
    with pytest.raises(KeyError, match="seed"):
        built["image_text_matching"](state)
