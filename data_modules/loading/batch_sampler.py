"""Batches of (epoch, index): order from (seed, epoch), sharded by rank, startable in mid-epoch."""

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np

from data_modules.index.hashing import stable_hash

Pairs = list[tuple[int, int]]
Lengths = Callable[[Pairs], np.ndarray]


class ShardedBatchSampler:
    """Yield lists of (epoch, index), so that data set and workers need no state of their own.

    Training: batch k of the ranks together, in rank order, is batch k of a single process with
    ``batch_size * world_size``; the ragged last global batch is dropped, so all ranks have as many batches.
    Evaluation: the batches of a single process in turn, rank r takes r, r + world_size, ...: nothing padded, nothing
    twice, and what is measured within a batch is the same for any number of ranks; lengths may differ by one.

    Args:
        num_samples: samples in the data set.
        batch_size: samples a batch on each rank.
        seed: of the order.
        rank, world_size: this process among its peers.
        train: shuffle and drop the last, or evaluate.
        weights: (num_samples,) how often a training epoch shows each sample, on average over epochs; ``None`` once.
            A sample shown k times in an epoch comes with k different epoch numbers, so with k augmentations.
        lengths: of the texts of (epoch, index) pairs; training batches then hold texts of similar length, so that
            little is padding.
        window: with ``lengths``, how many global batches are drawn at random before they are shared out by length.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        train: bool = True,
        weights: np.ndarray | None = None,
        lengths: Lengths | None = None,
        window: int = 0,
    ) -> None:
        self.num_samples, self.per_rank, self.seed = num_samples, batch_size, seed
        self.rank, self.world_size, self.train, self.weights = rank, world_size, train, weights
        self.lengths, self.window = lengths, window
        self.shown = num_samples if weights is None else int(weights.sum() + 0.5)
        self.epoch, self.start_batch = 0, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the training order of the next iteration; ``start_batch`` chooses where in it to begin."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches in a whole epoch on this rank, whatever the starting batch."""
        if self.train:
            return self.shown // (self.per_rank * self.world_size)
        return len(range(self.rank * self.per_rank, self.num_samples, self.world_size * self.per_rank))

    def __iter__(self) -> Iterator[Pairs]:
        first = self.rank * self.per_rank
        if not self.train:
            for start in range(first, self.num_samples, self.world_size * self.per_rank):
                yield [(0, i) for i in range(start, min(start + self.per_rank, self.num_samples))]
            return
        for batch in islice(self._global_batches(), self.start_batch, len(self)):
            yield batch[first : first + self.per_rank]

    def _global_batches(self) -> Iterator[Pairs]:
        """Batches of all ranks together; the last may be ragged."""
        order, size = self._training_order(self.epoch), self.per_rank * self.world_size
        if self.lengths is None:
            yield from (order[k : k + size] for k in range(0, len(order), size))
            return
        step = self.window * size
        for start in range(0, len(order), step):
            yield from self._by_length(order[start : start + step], start, size)

    def _by_length(self, pairs: Pairs, start: int, size: int) -> Iterator[Pairs]:
        """The whole batches of a window in random order; within a batch too, so that no rank gets the long texts."""
        assert self.lengths is not None
        generator = np.random.default_rng(abs(stable_hash("window", self.seed, self.epoch, start)))
        pairs = pairs[: len(pairs) // size * size]
        sorted_by_length = np.argsort(self.lengths(pairs), kind="stable").reshape(-1, size)
        for batch in generator.permutation(sorted_by_length):
            yield [pairs[i] for i in generator.permutation(batch)]

    def _training_order(self, epoch: int) -> Pairs:
        generator = np.random.default_rng(abs(stable_hash("order", self.seed, epoch)))
        order = generator.permutation(self.num_samples)
        if self.weights is None:
            return [(epoch, int(i)) for i in order]
        bounds = np.floor(np.cumsum(self.weights[order]) + 0.5).astype(int)
        counts = np.diff(np.minimum(bounds, self.shown), prepend=0)
        most = max(int(np.ceil(self.weights.max())), 1)
        pairs = [(epoch * most + k, int(i)) for i, count in zip(order, counts, strict=True) for k in range(count)]
        return [pairs[i] for i in generator.permutation(len(pairs))]
