"""Order, sharding and starting points of the batch sampler."""

from collections import Counter
from itertools import chain

import numpy as np
import pytest

from data_modules.loading.batch_sampler import ShardedBatchSampler


def test_smoke() -> None:
    batches = list(ShardedBatchSampler(10, 3))
    assert len(batches) == 3 and all(len(batch) == 3 for batch in batches)
    assert all(epoch == 0 for batch in batches for epoch, _ in batch)


@pytest.mark.parametrize("world", [2, 3])
def test_value_ranks_together_are_the_single_process(world: int) -> None:
    single = ShardedBatchSampler(50, 4 * world, seed=3)
    ranks = [ShardedBatchSampler(50, 4, seed=3, rank=r, world_size=world) for r in range(world)]
    for epoch in (0, 5):
        for sampler in (single, *ranks):
            sampler.set_epoch(epoch)
        together = [list(chain(*parts)) for parts in zip(*ranks, strict=True)]
        assert together == list(single)
        assert len(single) == 50 // (4 * world)


def test_value_order_depends_on_seed_and_epoch() -> None:
    sampler, other = ShardedBatchSampler(40, 8, seed=0), ShardedBatchSampler(40, 8, seed=1)
    first = list(sampler)
    assert first == list(sampler) != list(other)
    sampler.set_epoch(1)
    assert sorted(i for batch in sampler for _, i in batch) == list(range(40))
    assert [i for batch in sampler for _, i in batch] != [i for batch in first for _, i in batch]


def test_value_start_batch() -> None:
    sampler = ShardedBatchSampler(40, 8)
    whole = list(sampler)
    sampler.start_batch = 3
    assert list(sampler) == whole[3:] and len(sampler) == len(whole)


@pytest.mark.parametrize("samples", [0, 1, 5, 16, 17])
def test_value_evaluation_deals_out_the_batches_of_a_single_process(samples: int) -> None:
    ranks = [ShardedBatchSampler(samples, 4, rank=r, world_size=3, train=False) for r in range(3)]
    for sampler in ranks:
        sampler.set_epoch(7)
        assert len(list(sampler)) == len(sampler)
    single = list(ShardedBatchSampler(samples, 4, train=False))
    assert [pair for batch in single for pair in batch] == [(0, i) for i in range(samples)]
    assert sorted(chain(*ranks)) == single


def test_value_weights_say_how_often_a_sample_is_shown() -> None:
    """Whole parts every epoch, fractions over the epochs; a repeat has another epoch number, and no two are alike."""
    weights = np.array([0.5] * 8 + [1.0] * 4 + [3.0] * 4)
    sampler = ShardedBatchSampler(16, 4, seed=1, weights=weights)
    assert len(sampler) == 5
    total, seen = Counter[int](), set[tuple[int, int]]()
    for epoch in range(40):
        sampler.set_epoch(epoch)
        pairs = list(chain.from_iterable(sampler))
        counts = Counter(i for _, i in pairs)
        assert len(pairs) == 20 and not seen & set(pairs) and len(set(pairs)) == 20
        assert all(counts[i] == 1 for i in range(8, 12)) and all(counts[i] == 3 for i in range(12, 16))
        seen |= set(pairs)
        total += counts
    assert all(10 <= total[i] <= 30 for i in range(8)) and sum(total[i] for i in range(8)) == 40 * 4


def test_value_weights_are_shared_between_ranks() -> None:
    weights = np.linspace(0.1, 2.0, 30)
    single = ShardedBatchSampler(30, 8, seed=2, weights=weights)
    ranks = [ShardedBatchSampler(30, 4, seed=2, rank=r, world_size=2, weights=weights) for r in range(2)]
    assert list(single) == [a + b for a, b in zip(*ranks, strict=True)]


LENGTHS = np.random.default_rng(0).integers(3, 200, 70)


def lengths_of(pairs: list[tuple[int, int]]) -> np.ndarray:
    return np.array([LENGTHS[i] for _, i in pairs])


def test_value_batches_of_similar_length() -> None:
    """Each window of 3 x 8 random samples is cut along its lengths; every sample of a whole batch is shown once."""
    plain, grouped = ShardedBatchSampler(70, 8), ShardedBatchSampler(70, 8, lengths=lengths_of, window=3)
    shown = list(grouped)
    assert len(shown) == len(grouped) == len(plain) == 8
    order = list(chain.from_iterable(plain))
    for k in (0, 3):
        window = order[k * 8 : (k + 3) * 8]
        by_length = sorted(lengths_of(window))
        drawn = sorted(sorted(lengths_of(batch)) for batch in shown[k : k + 3])
        assert drawn == sorted(by_length[j : j + 8] for j in (0, 8, 16))
        assert sorted(chain.from_iterable(shown[k : k + 3])) == sorted(window)
    padding = [sum(max(lengths_of(batch)) for batch in batches) for batches in (shown, list(plain))]
    assert padding[0] < 0.8 * padding[1]


def test_value_length_windows_on_ranks_and_from_the_middle() -> None:
    single = ShardedBatchSampler(70, 8, seed=2, lengths=lengths_of, window=3)
    ranks = [ShardedBatchSampler(70, 4, 2, rank, 2, lengths=lengths_of, window=3) for rank in range(2)]
    whole = list(single)
    assert whole == [a + b for a, b in zip(*ranks, strict=True)]
    single.start_batch = 4
    assert list(single) == whole[4:]
    single.start_batch = 0
    single.set_epoch(1)
    assert list(single) != whole
