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
    """

    def __init__(
        self, num_samples: int, batch_size: int, seed: int = 0, rank: int = 0, world_size: int = 1, train: bool = True
    ) -> None:
        self.num_samples, self.per_rank, self.seed = num_samples, batch_size, seed
        self.rank, self.world_size, self.train = rank, world_size, train
        self.epoch, self.start_batch = 0, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the training order of the next iteration; ``start_batch`` chooses where in it to begin."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches in a whole epoch on this rank, whatever the starting batch."""
        if self.train:
            return self.num_samples // (self.per_rank * self.world_size)
        return -(-len(range(self.rank, self.num_samples, self.world_size)) // self.per_rank)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        if self.train:
            epoch, first, stride = self.epoch, self.start_batch, self.world_size
            generator = np.random.default_rng(abs(stable_hash("order", self.seed, epoch)))
            order = generator.permutation(self.num_samples)[self.rank * self.per_rank :]
        else:
            epoch, first, stride = 0, 0, 1
            order = np.arange(self.rank, self.num_samples, self.world_size)
        for k in range(first, len(self)):
            start = k * stride * self.per_rank
            yield [(epoch, int(i)) for i in order[start : start + self.per_rank]]
