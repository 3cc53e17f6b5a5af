"""Notes which sample each worker process reads, so that the sample that ended a worker can be named."""

import os
from typing import Any

import torch
from torch.utils.data import get_worker_info


class Reading:
    """``worker_init_fn`` of a loader: its workers note their process id and the row they read, in shared memory.

    Args:
        dataset: has ``reading``, a place for the row's number, and ``name_of(row)``.
        workers: processes of the loader.
    """

    def __init__(self, dataset: Any, workers: int) -> None:
        self.dataset = dataset
        self.table = torch.full((workers, 2), -1, dtype=torch.int64).share_memory_()

    def __call__(self, worker: int) -> None:
        self.table[worker, 0] = os.getpid()
        info: Any = get_worker_info()
        info.dataset.reading = self.table[worker, 1:]

    def sample(self, pid: int) -> str | None:
        """Id of the sample that worker process ``pid`` read last; None for a process of another loader."""
        rows = [row for worker, row in self.table.tolist() if worker == pid and row >= 0]
        return self.dataset.name_of(rows[0]) if rows else None
