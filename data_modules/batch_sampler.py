"""Batches of (epoch, index): order from (seed, epoch), sharded by rank, startable in mid-epoch."""

from collections.abc import Iterator

import numpy as np

from data_modules.hashing import stable_hash


class ShardedBatchSampler:
    """Yield lists of (epoch, index), so that data set and workers need no state of their own.

    Training: batch k of the ranks together, in rank order, is batch k of a single process with
    ``batch_size * world_size``; the ragged last global batch is dropped, so all ranks have as many batches.
    Evaluation: rank r takes r, r + world_size, ... of epoch 0: nothing padded, nothing twice; lengths may differ.

    Args:
        num_samples: samples in the data set.
        batch_size: samples a batch on each rank.
        seed: of the order.
        rank, world_size: this process among its peers.
        train: shuffle and drop the last, or evaluate.
        weights: (num_samples,) how often a training epoch shows each sample, on average over epochs; ``None`` once.
            A sample shown k times in an epoch comes with k different epoch numbers, so with k augmentations.
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
    ) -> None:
        self.num_samples, self.per_rank, self.seed = num_samples, batch_size, seed
        self.rank, self.world_size, self.train, self.weights = rank, world_size, train, weights
        self.shown = num_samples if weights is None else int(weights.sum() + 0.5)
        self.epoch, self.start_batch = 0, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the training order of the next iteration; ``start_batch`` chooses where in it to begin."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches in a whole epoch on this rank, whatever the starting batch."""
        if self.train:
            return self.shown // (self.per_rank * self.world_size)
        return -(-len(range(self.rank, self.num_samples, self.world_size)) // self.per_rank)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        if self.train:
            first, stride = self.start_batch, self.world_size
            order = self._training_order(self.epoch)[self.rank * self.per_rank :]
        else:
            first, stride = 0, 1
            order = [(0, i) for i in range(self.rank, self.num_samples, self.world_size)]
        for k in range(first, len(self)):
            start = k * stride * self.per_rank
            yield order[start : start + self.per_rank]

    def _training_order(self, epoch: int) -> list[tuple[int, int]]:
        generator = np.random.default_rng(abs(stable_hash("order", self.seed, epoch)))
        order = generator.permutation(self.num_samples)
        if self.weights is None:
            return [(epoch, int(i)) for i in order]
        bounds = np.floor(np.cumsum(self.weights[order]) + 0.5).astype(int)
        counts = np.diff(np.minimum(bounds, self.shown), prepend=0)
        most = max(int(np.ceil(self.weights.max())), 1)
        pairs = [(epoch * most + k, int(i)) for i, count in zip(order, counts, strict=True) for k in range(count)]
        return [pairs[i] for i in generator.permutation(len(pairs))]
