"""How a worker process begins, and which sample it reads, so that the sample that ended one can be named."""

import os
import signal
import sys
from typing import Any

import torch
from torch.utils.data import get_worker_info


class Reading:
    """``worker_init_fn`` of a loader: its workers note their process id and the row they read, in shared memory.

    They leave Ctrl-C to the process that trains, which ends them after its last checkpoint, and have outputs of their
    own: what a logger put in the place of ``sys.stderr`` (as wandb does) refuses to work in a forked process.

    Args:
        dataset: has ``reading``, a place for the row's number, and ``name_of(row)``.
        workers: processes of the loader.
    """

    def __init__(self, dataset: Any, workers: int) -> None:
        self.dataset = dataset
        self.table = torch.full((workers, 2), -1, dtype=torch.int64).share_memory_()

    def __call__(self, worker: int) -> None:
        self.table[worker, 0] = os.getpid()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
        info: Any = get_worker_info()
        info.dataset.reading = self.table[worker, 1:]

    def sample(self, pid: int) -> str | None:
        """Id of the sample that worker process ``pid`` read last; None for a process of another loader."""
        rows = [row for worker, row in self.table.tolist() if worker == pid and row >= 0]
        return self.dataset.name_of(rows[0]) if rows else None
