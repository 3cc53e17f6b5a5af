"""The training loader that knows where in an epoch it is, and the collate function of every loader."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, Dataset

from data_modules.loading.batch_sampler import ShardedBatchSampler

Progress = Callable[[], tuple[int, bool]]
"""Batches already trained on in the current epoch, and whether that was all of them."""


TOKEN_KEYS = ("input_ids", "attention_mask", "word_ids")
TOKEN_STEP = 8  # tensor cores like it, and few lengths mean few recompilations
RAGGED = ("boxes", "box_labels")
"""Tensors of another length for every sample."""


def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Stack tensors, list everything else and ``RAGGED`` tensors; all samples have the same keys.

    Texts are cut to the batch's longest.
    """
    columns = {key: [sample[key] for sample in samples] for key in samples[0]}
    stacked = {k for k, v in columns.items() if isinstance(v[0], torch.Tensor) and k not in RAGGED}
    batch: dict[str, Any] = {k: torch.stack(v) if k in stacked else v for k, v in columns.items()}
    if "attention_mask" in batch:
        longest = -(-int(batch["attention_mask"].sum(1).max()) // TOKEN_STEP) * TOKEN_STEP
        batch |= {key: batch[key][:, :longest] for key in TOKEN_KEYS}
    return batch


def trainer_progress(trainer: Trainer) -> Progress:
    """Where lightning's training loop is, at the moment of asking."""

    def progress() -> tuple[int, bool]:
        batches = trainer.fit_loop.epoch_loop.batch_progress
        return batches.current.ready, batches.is_last_batch

    return progress


def epochs_done(trainer: Trainer) -> int:
    """Epochs trained through, right also when resuming from a checkpoint written at an epoch's end."""
    return trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]


class ResumableLoader(DataLoader):
    """A training loader that continues in mid-epoch and counts epochs by itself.

    Lightning stores ``state_dict`` in checkpoints, gives it back and then asks for an iterator *before* it has
    settled whether the interrupted epoch goes on or a new one begins (a checkpoint may be written after a batch,
    after a validation or at an epoch's end). So iterating is lazy: epoch and first batch are settled at the first
    batch. The epoch is ours, because lightning's own counter runs ahead after resuming a ``max_steps`` run.

    Args:
        dataset: addressed by (epoch, index).
        sampler: its ``epoch`` is the first one.
        num_workers: processes; they live as long as the loader.
        progress: of the trainer; without a trainer the loader resumes from ``load_state_dict`` alone.
        reading: where the workers note what they read.

    Attributes:
        waited: seconds spent waiting for batches.
    """

    batch_sampler: ShardedBatchSampler

    def __init__(
        self,
        dataset: Dataset,
        sampler: ShardedBatchSampler,
        num_workers: int = 0,
        progress: Progress | None = None,
        reading: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__(
            dataset,
            batch_sampler=sampler,
            num_workers=num_workers,
            collate_fn=collate,
            persistent_workers=num_workers > 0,
            worker_init_fn=reading,
        )
        self.waited = 0.0
        self._progress = progress or self._own_progress
        self._handed_out = 0
        self._resume_at = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        return self._batches()

    def _batches(self) -> Iterator[dict[str, Any]]:
        start, finished = self._progress()
        if finished:
            return
        if start == 0 and self._handed_out:
            self.batch_sampler.set_epoch(self.batch_sampler.epoch + 1)
        self.batch_sampler.start_batch = self._handed_out = start
        batches = super().__iter__()
        while True:
            asked = time.monotonic()
            batch = next(batches, None)
            self.waited += time.monotonic() - asked
            if batch is None:
                return
            self._handed_out += 1
            yield batch

    def _own_progress(self) -> tuple[int, bool]:
        start, self._resume_at = self._resume_at, 0
        return start % max(len(self), 1), False

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.batch_sampler.epoch, "batch": self._handed_out}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.batch_sampler.set_epoch(state["epoch"])
        self._handed_out = self._resume_at = state["batch"]
