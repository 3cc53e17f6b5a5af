"""Paired masking."""

import numpy as np
import pytest
import torch

from data_modules.errors import UserError
from mpma_lightning.masking import hashed_uniform, mask_image, mask_report

MASK = 4


def splitmix_reference(seed: int, count: int, stream: int) -> list[float]:
    """SplitMix64 in Python integers, from its published constants."""
    modulus, gamma = 1 << 64, 0x9E3779B97F4A7C15

    def mix(x: int) -> int:
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % modulus
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % modulus
        return x ^ (x >> 31)

    state = mix((seed % modulus) ^ (stream * gamma % modulus))
    return [(mix((state + (i + 1) * gamma) % modulus) >> 11) / 2**53 for i in range(count)]


@pytest.mark.parametrize("seed", [0, 1, -5, 2**62, -(2**63)])
@pytest.mark.parametrize("stream", [1, 2])
def test_hashed_uniform_value(seed: int, stream: int) -> None:
    drawn = hashed_uniform(torch.tensor([seed]), 6, stream)[0].tolist()
    assert drawn == splitmix_reference(seed, 6, stream)


def test_hashed_uniform_is_uniform_and_independent() -> None:
    drawn = hashed_uniform(torch.arange(20_000), 50, 1).numpy()
    counts, _ = np.histogram(drawn, bins=20, range=(0, 1))
    assert drawn.min() >= 0 and drawn.max() < 1
    assert abs(counts / drawn.size - 0.05).max() < 0.003
    assert abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 0.025
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.025


def test_mask_image_shape_and_count() -> None:
    mask = mask_image(torch.arange(8), 144, 0.75)
    assert mask.visible.shape == (8, 36) and mask.masked.shape == (8, 144)
    assert (mask.masked.sum(1) == 108).all()
    for ids, hidden in zip(mask.visible, mask.masked, strict=True):
        assert not hidden[ids].any() and (ids.diff() > 0).all()


def test_mask_image_does_not_depend_on_the_batch() -> None:
    whole = mask_image(torch.arange(8), 144, 0.75)
    half = mask_image(torch.arange(4, 8), 144, 0.75)
    assert torch.equal(whole.visible[4:], half.visible)


def test_mask_image_every_patch_is_hidden_equally_often() -> None:
    share = mask_image(torch.arange(4000), 16, 0.75).masked.double().mean(0)
    assert (share - 0.75).abs().max() < 0.03


@pytest.mark.parametrize(
    ("words", "expected"),
    # max(1, round(0.5 n)), half up; two stay visible from three words on
    [(1, 1), (2, 1), (3, 1), (4, 2), (5, 3), (6, 3), (7, 4), (20, 10)],
)
def test_mask_report_count(words: int, expected: int) -> None:
    ids = torch.arange(10, 10 + words + 2).unsqueeze(0)
    word_ids = torch.tensor([[-1, *range(words), -1]])
    for seed in range(20):
        mask = mask_report(torch.tensor([seed]), ids, word_ids, 0.5, MASK)
        assert int(mask.masked.sum()) == expected


def test_mask_report_takes_every_piece_of_a_word_and_no_special_token() -> None:
    ids = torch.tensor([[2, 10, 11, 12, 13, 14, 15, 3, 0, 0]]).repeat(200, 1)
    word_ids = torch.tensor([[-1, 0, 0, 1, 2, 2, 3, -1, -1, -1]]).repeat(200, 1)
    mask = mask_report(torch.arange(200), ids, word_ids, 0.5, MASK)
    assert not mask.masked[:, [0, 7, 8, 9]].any()
    assert torch.equal(mask.masked[:, 1], mask.masked[:, 2]) and torch.equal(mask.masked[:, 4], mask.masked[:, 5])
    assert torch.equal(mask.input_ids, ids.masked_fill(mask.masked, MASK))
    assert (mask.masked[:, [1, 3, 4, 6]].double().mean(0) - 0.5).abs().max() < 0.1


def test_mask_report_without_words() -> None:
    nothing = mask_report(torch.tensor([1]), torch.tensor([[2, 3, 0]]), torch.full((1, 3), -1), 0.5, MASK)
    assert not nothing.masked.any()


def test_image_and_report_masks_are_independent_streams() -> None:
    seed = torch.tensor([3])
    assert not torch.equal(hashed_uniform(seed, 8, 1), hashed_uniform(seed, 8, 2))


@pytest.mark.parametrize("ratio", [-0.1, 1.0])
def test_ratio_error(ratio: float) -> None:
    with pytest.raises(UserError, match="ratio is"):
        mask_image(torch.tensor([0]), 4, ratio)
    with pytest.raises(UserError, match="ratio is"):
        mask_report(
            torch.tensor([0]), torch.zeros(1, 4, dtype=torch.long), torch.zeros(1, 4, dtype=torch.long), ratio, MASK
        )
