"""A task and a data set that cost nothing, for driving the command line."""

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import pytest
import torch
from lightning.pytorch import LightningModule
from memory_data import MemoryData
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mpma_lightning.cli.main import main


@dataclass
class ToyOptim:
    """Attributes:
    lr: learning rate.
    decay: not read.
    """

    lr: float = 0.1
    decay: Literal["cosine", "linear"] = "cosine"


class ToyBase(LightningModule):
    """Stands for Task."""


class ToyTask(ToyBase):
    """One weight vector; ``width`` changes nothing, so that checkpoints of another width still fit."""

    seen: ClassVar[list["ToyTask"]] = []
    interrupt_at: ClassVar[int] = -1
    terminate_at: ClassVar[int] = -1

    def __init__(
        self, width: int = 4, optim: ToyOptim | None = None, kind: str = "plain", parts: list[str] | None = None
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.width, self.optim, self.kind, self.parts = width, optim or ToyOptim(), kind, parts
        self.layer = nn.Linear(2, 1)
        ToyTask.seen.append(self)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        if self.global_step == ToyTask.interrupt_at:
            raise KeyboardInterrupt
        if self.global_step == ToyTask.terminate_at:
            signal.raise_signal(signal.SIGTERM)
        loss = self.layer(batch).square().mean()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val/loss", self.layer(batch).square().mean())

    test_step = validation_step

    def predict_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.optim.lr)


class ToyDataBase(MemoryData):
    """Stands for DataModule."""

    def setup(self, stage: str | None = None) -> None: ...


class ToyData(ToyDataBase):
    def __init__(
        self, root: str, batch_size: int = 2, num_workers: int = 0, seed: int = 0, split_file: str | None = None
    ) -> None:
        super().__init__(batch_size=batch_size)
        self.root = root

    def train_dataloader(self) -> DataLoader:
        return DataLoader(torch.ones(8, 2), batch_size=self.batch_size)  # type: ignore[arg-type]

    val_dataloader = test_dataloader = predict_dataloader = train_dataloader


EXPERIMENT = """
model:
  class_path: ToyTask
  init_args: {width: 8}
data:
  class_path: ToyData
  init_args: {root: here, batch_size: 4}
trainer: {accelerator: cpu, devices: 1, max_steps: 3, enable_progress_bar: false, enable_model_summary: false}
"""


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A working directory with ``experiments/toy/first.yaml``; the toys take the place of Task and DataModule."""
    from mpma_lightning.cli import training as training_command

    monkeypatch.setattr(training_command, "base_classes", lambda: (ToyBase, ToyDataBase))
    monkeypatch.setattr(training_command, "_HOLDING_CLASSES", ())
    monkeypatch.chdir(tmp_path)
    ToyTask.seen.clear()
    monkeypatch.setattr(ToyTask, "interrupt_at", -1)
    monkeypatch.setattr(ToyTask, "terminate_at", -1)
    write("experiments/toy/first.yaml", EXPERIMENT)
    return tmp_path


def write(path: str, text: str) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
    return path


def fit(*words: str) -> int:
    return main(["fit", "--config", "experiments/toy/first.yaml", *words])
