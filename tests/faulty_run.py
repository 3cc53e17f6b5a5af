"""``python faulty_run.py FAULT COMMAND…``: the command line with a planted fault, for tests of what then happens.

nan RANK STEP       the losses of that rank at that step are not a number
die RANK STEP       that rank kills itself before that step
worker ID           the data worker that reads that sample kills itself
memory              the first training step runs out of memory
full BYTES          no file can become larger, as on a full disk
"""

import os
import resource
import signal
import sys
from typing import Any

import torch

from data_modules.loading.dataset import SampleDataset
from mpma_lightning.cli.main import main
from mpma_lightning.tasks.base import Task
from mpma_lightning.tasks.pretraining import PretrainingTask

whole_step, whole_sample, whole_start = PretrainingTask.step, SampleDataset._sample, Task.on_train_batch_start


def plant(fault: str, *details: str) -> None:
    """Replace the method where the fault arises."""
    if fault == "nan":
        rank, step = map(int, details)

        def broken(task: PretrainingTask, batch: dict[str, Any], stage: str) -> dict[str, Any]:
            outcome = whole_step(task, batch, stage)
            if stage == "train" and task.global_rank == rank and task.global_step == step:
                name = "report_reconstruction_loss"
                outcome[name] = (outcome[name][0] * torch.nan, outcome[name][1])
            return outcome

        PretrainingTask.step = broken  # type: ignore[method-assign]
    elif fault == "die":
        rank, step = map(int, details)

        def dying(task: Task, batch: Any, batch_idx: int) -> None:
            if task.global_rank == rank and task.global_step == step:
                os.kill(os.getpid(), signal.SIGKILL)
            whole_start(task, batch, batch_idx)

        Task.on_train_batch_start = dying  # type: ignore[method-assign]
    elif fault == "worker":
        (name,) = details

        def deadly(dataset: SampleDataset, epoch: int, i: int) -> dict[str, Any]:
            sample = whole_sample(dataset, epoch, i)
            if sample["id"] == name and dataset.reading is not None:
                os.kill(os.getpid(), signal.SIGKILL)
            return sample

        SampleDataset._sample = deadly  # type: ignore[method-assign]
    elif fault == "memory":

        def greedy(task: PretrainingTask, batch: dict[str, Any], stage: str) -> dict[str, Any]:
            torch.empty(1 << 60)
            return whole_step(task, batch, stage)

        PretrainingTask.step = greedy  # type: ignore[method-assign]
    elif fault == "full":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(details[0]), resource.RLIM_INFINITY))
    else:
        raise ValueError(fault)


if __name__ == "__main__":
    commands = ("fit", "validate", "test", "predict")
    start = next(place for place, word in enumerate(sys.argv) if word in commands)
    plant(*sys.argv[1:start])
    sys.exit(main(sys.argv[start:]))
