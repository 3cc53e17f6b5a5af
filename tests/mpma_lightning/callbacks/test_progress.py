"""Progress where there is no terminal."""

import logging

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import RichProgressBar
from memory_data import MemoryData
from torch.utils.data import DataLoader
from toy_run import ToyTask

from mpma_lightning.callbacks.progress import Bar, Lines, duration, progress


class Rows(MemoryData):
    def setup(self, stage: str | None = None) -> None: ...

    def train_dataloader(self) -> DataLoader:
        rows = [{"id": str(number), "x": torch.ones(2)} for number in range(40)]
        return DataLoader(rows, batch_size=2)  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader:
        return DataLoader([{"id": "a", "x": torch.ones(2)}], batch_size=1)  # type: ignore[arg-type]


class Task(ToyTask):
    def training_step(self, batch: dict, batch_idx: int) -> torch.Tensor:  # type: ignore[override]
        return super().training_step(batch["x"], batch_idx)

    def validation_step(self, batch: dict, batch_idx: int) -> None:  # type: ignore[override]
        super().validation_step(batch["x"], batch_idx)


def run(lines: Lines, caplog: pytest.LogCaptureFixture, **settings: object) -> list[str]:
    common = {"accelerator": "cpu", "devices": 1, "logger": False, "enable_checkpointing": False}
    trainer = Trainer(**common, callbacks=[lines], enable_model_summary=False, **settings)  # type: ignore[arg-type]
    with caplog.at_level(logging.INFO):
        trainer.fit(Task(), datamodule=Rows(batch_size=2))
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith("step ")]


def test_value_lines_of_a_fit(caplog: pytest.LogCaptureFixture) -> None:
    said = run(Lines(), caplog, max_epochs=2)
    steps = [line.partition(":")[0] for line in said if " left" in line]
    assert steps[0] == "step 1/40, epoch 1" and steps[-1] == "step 40/40, epoch 2" and 10 <= len(steps) <= 12
    assert all("loss " in line and " samples/s, " in line for line in said if " left" in line)
    assert said[-1].startswith("step 40: val/loss ") and said[-2].endswith(" 0 s left")


def test_value_a_line_after_the_seconds(caplog: pytest.LogCaptureFixture) -> None:
    assert sum(" left" in line for line in run(Lines(seconds=0.0), caplog, max_steps=25)) == 25


def test_value_what_suits_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    class Console:
        is_terminal = True

    assert isinstance(progress(), Lines)
    monkeypatch.setattr("mpma_lightning.callbacks.progress.get_console", Console)
    bar = progress()
    assert isinstance(bar, Bar)
    for settings, said in [
        ({"max_epochs": 3}, "Epoch 2/3"),
        ({"max_steps": 7, "max_epochs": -1}, "Epoch 2, to step 7"),
    ]:
        bar._trainer = Trainer(accelerator="cpu", logger=False, **settings)
        assert bar._get_train_description(1) == said


def test_value_duration() -> None:
    assert [duration(seconds) for seconds in (45, 720, 12000)] == ["45 s", "12 min", "3 h 20 min"]


def test_value_the_bar_reads_metrics_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now, bar, read = [50.0], Bar(), []
    monkeypatch.setattr("mpma_lightning.callbacks.progress.time.monotonic", lambda: now[0])
    monkeypatch.setattr(RichProgressBar, "_update_metrics", lambda *_: read.append(now[0]))
    for now[0] in (50.0, 50.5, 50.9, 51.0, 51.9, 53.0):
        bar._update_metrics(None, None)  # type: ignore[arg-type]
    assert read == [50.0, 51.0, 53.0]
