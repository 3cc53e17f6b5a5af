"""Stopping and resuming training at any batch sees the same samples as an uninterrupted run."""

import io
import logging
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, Dataset

from data_modules.loading.batch_sampler import ShardedBatchSampler
from data_modules.loading.loader import ResumableLoader, collate, epochs_done, trainer_progress
from data_modules.loading.reading import Reading

SAMPLES, BATCH = 22, 4
BATCHES = SAMPLES // BATCH

Seen = list[tuple[int, list[int]]]


class Numbers(Dataset):
    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, where: tuple[int, int]) -> dict[str, Any]:
        return {"epoch": torch.tensor(where[0]), "i": torch.tensor(where[1]), "id": str(where[1])}


class NumbersData(lightning.LightningDataModule):
    def __init__(self, workers: int) -> None:
        super().__init__()
        self.workers = workers

    def train_dataloader(self) -> ResumableLoader:
        sampler = ShardedBatchSampler(SAMPLES, BATCH, seed=1)
        sampler.set_epoch(epochs_done(self.trainer))
        return ResumableLoader(Numbers(), sampler, self.workers, trainer_progress(self.trainer))

    def val_dataloader(self) -> DataLoader:
        return DataLoader(Numbers(), batch_sampler=ShardedBatchSampler(SAMPLES, BATCH, train=False))


class Recorder(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen: Seen = []

    def training_step(self, batch: dict[str, Any], index: int) -> torch.Tensor:
        self.seen.append((int(batch["epoch"][0]), batch["i"].tolist()))
        return self.layer(torch.ones(1, 1)).sum()

    def validation_step(self, batch: dict[str, Any], index: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(workers: int, ckpt_path: Path | None = None, callbacks: list[Any] | None = None, **options: Any) -> Seen:
    settings: dict[str, Any] = {"max_epochs": 3, "limit_val_batches": 1, **options}
    trainer = lightning.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=bool(callbacks),
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        callbacks=callbacks,
        **settings,
    )
    model = Recorder()
    trainer.fit(model, NumbersData(workers), ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
    return model.seen


@pytest.fixture(autouse=True)
def quiet() -> Any:
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logger.setLevel(level)


STEPS = {"max_steps": 13, "max_epochs": -1}
AFTER_BATCH: dict[str, Any] = {"every_n_train_steps": 1}
AFTER_EPOCH: dict[str, Any] = {"save_on_train_epoch_end": True}
AFTER_VALIDATION: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("workers", "saving", "options", "points"),
    [
        (0, AFTER_BATCH, {}, [1, 4, 5, 6, 10]),
        (2, AFTER_BATCH, {}, [3, 5]),
        (0, AFTER_BATCH, {"limit_val_batches": 0}, [5, 7]),
        (0, AFTER_BATCH, {"accumulate_grad_batches": 2}, [2, 5]),
        (0, AFTER_BATCH, {"limit_train_batches": 3}, [2, 3]),
        (0, AFTER_BATCH, {"reload_dataloaders_every_n_epochs": 1}, [5, 7]),
        (0, AFTER_BATCH, STEPS, [3, 5, 7]),
        (0, AFTER_EPOCH, {}, [5, 10]),
        (2, AFTER_EPOCH, {"limit_val_batches": 0}, [5]),
        (0, AFTER_EPOCH, STEPS, [5, 10]),
        (0, AFTER_EPOCH, {"limit_val_batches": 0, **STEPS}, [5, 10]),
        (0, AFTER_VALIDATION, {}, [5, 10]),
        (0, AFTER_VALIDATION, {"val_check_interval": 2}, [2, 4, 7]),
        (2, AFTER_VALIDATION, {"val_check_interval": 2}, [4]),
        (0, AFTER_VALIDATION, STEPS, [5, 10]),
    ],
)
def test_value_resuming_sees_the_same_samples(
    tmp_path: Path, workers: int, saving: dict[str, Any], options: dict[str, Any], points: list[int]
) -> None:
    saver = ModelCheckpoint(dirpath=tmp_path, save_top_k=-1, filename="{step}", **saving)
    whole = fit(workers, callbacks=[saver], **options)
    epochs = [epoch for epoch, _ in whole]
    assert epochs == sorted(epochs) and len({tuple(i) for _, i in whole}) == len(whole)
    written = {}
    for path in tmp_path.glob("*.ckpt"):
        loops = torch.load(path, weights_only=True)["loops"]["fit_loop"]
        written[loops["epoch_loop.batch_progress"]["total"]["ready"]] = path
    assert set(points) <= set(written)
    for point in points:
        assert fit(workers, ckpt_path=written[point], **options) == whole[point:], point


def test_value_resuming_without_a_trainer() -> None:
    def make() -> ResumableLoader:
        return ResumableLoader(Numbers(), ShardedBatchSampler(SAMPLES, BATCH, seed=1))

    def ids(batches: Any) -> Seen:
        return [(int(batch["epoch"][0]), batch["i"].tolist()) for batch in batches]

    loader = make()
    whole = [ids(loader), ids(loader)]
    assert [epoch for epoch, _ in whole[1]] == [1] * BATCHES
    for taken in (2, BATCHES):
        stopped, resumed = make(), make()
        batches = iter(stopped)
        for _ in range(taken):
            next(batches)
        resumed.load_state_dict(stopped.state_dict())
        rest = whole[0][taken:] or whole[1]
        assert ids(resumed) == rest


def test_shape_collate() -> None:
    batch = collate([{"id": "a", "x": torch.zeros(2)}, {"id": "b", "x": torch.ones(2)}])
    assert batch["id"] == ["a", "b"] and batch["x"].shape == (2, 2)


def test_value_collate_cuts_texts_to_the_longest() -> None:
    """Rounded up to a multiple of 8."""
    samples = []
    for length in (3, 10):
        mask = (torch.arange(64) < length).long()
        samples.append({"id": str(length), "input_ids": 7 * mask, "attention_mask": mask, "word_ids": mask - 1})
    batch = collate(samples)
    assert all(batch[key].shape == (2, 16) for key in ("input_ids", "attention_mask", "word_ids"))
    assert batch["attention_mask"].sum(1).tolist() == [3, 10] and batch["input_ids"][1, 9] == 7


class Talking(Numbers):
    """Writes where its process writes errors."""

    reading: Any = None

    def __getitem__(self, where: tuple[int, int]) -> dict[str, Any]:
        print("seen", where[1], file=sys.stderr)
        return super().__getitem__(where) | {"alone": signal.getsignal(signal.SIGINT) == signal.SIG_IGN}


class OwnProcessOnly(io.StringIO):
    """What a logger puts in the place of ``sys.stderr``: it refuses to work in a forked process."""

    def __init__(self) -> None:
        super().__init__()
        self.process = os.getpid()

    def write(self, text: str) -> int:
        if os.getpid() != self.process:
            raise RuntimeError("This operation is not valid in a forked process.")
        return super().write(text)


def test_value_workers_have_outputs_of_their_own_and_leave_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", OwnProcessOnly())
    sampler, data = ShardedBatchSampler(SAMPLES, BATCH, train=False), Talking()
    loader = DataLoader(data, batch_sampler=sampler, num_workers=1, collate_fn=collate, worker_init_fn=Reading(data, 1))
    batches = list(loader)
    assert sum(len(batch["id"]) for batch in batches) == SAMPLES and all(all(batch["alone"]) for batch in batches)
