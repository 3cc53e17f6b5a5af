"""The cost card of a training: throughput, memory, waiting for data, floating-point operations, GPU-hours."""

import time
from contextlib import ExitStack
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.fabric.utilities.throughput import get_available_flops
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from data_modules.machine import peak_resident_mib

MEASURED = 1
"""Index of the batch whose operations are counted; the first batch, 0, also does work that is done only once."""


class CostCard(Callback):
    """Measures the training batches of this process. Evaluation and checkpoints count in ``gpu_hours`` and
    ``peak_memory_mib`` only.

    Operations are the executed ones: matrix products, convolutions and attention, forward and backward, including what
    gradient checkpointing repeats. They are counted in one batch and multiplied by the number of batches; a compiled
    model is counted without compilation.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._batches = self._samples = 0
        self._tokens: int | Tensor = 0  # a tensor stays on its device until the end
        self._seconds, self._flops, self._begin, self._fit_start = 0.0, 0, 0.0, time.monotonic()
        self._counter: FlopCounterMode | None = None
        self._counting = ExitStack()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._reset()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._batches == MEASURED:
            self._counter = FlopCounterMode(display=False)
            self._counting.enter_context(torch.compiler.set_stance("force_eager"))
            self._counting.enter_context(self._counter)
        self._begin = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._seconds += time.monotonic() - self._begin
        if self._batches == MEASURED and self._counter is not None:
            self._counting.close()
            self._flops = self._counter.get_total_flops()
        self._batches += 1
        if isinstance(batch, dict) and "id" in batch:
            self._samples += len(batch["id"])
            self._tokens = self._tokens + (batch["attention_mask"].sum() if "attention_mask" in batch else 0)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._counting.close()

    def card(self, trainer: Trainer) -> dict[str, Any]:
        """Measurements of rank 0 times the number of ranks; None where a value is not known."""
        waited = getattr(trainer.train_dataloader, "waited", 0.0)
        seconds, world = max(self._seconds + waited, 1e-9), trainer.world_size
        flops = self._flops * self._batches / seconds
        device = trainer.strategy.root_device
        peak = get_available_flops(device, _compute_type(trainer)) if device.type == "cuda" else None
        hours = world * (time.monotonic() - self._fit_start) / 3600
        return {
            "samples_per_second": round(world * self._samples / seconds, 2),
            "text_tokens_per_second": round(world * int(self._tokens) / seconds, 1),
            "data_wait_share": round(waited / seconds, 4),
            "peak_memory_mib": round(peak_memory_mib()),
            "flops_per_second": float(f"{world * flops:.4g}") if flops else None,
            "mfu": round(flops / peak, 4) if flops and peak else None,
            "gpu_hours": round(hours, 4) if device.type == "cuda" else None,
            "devices": world,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        }


def cost_of(trainer: Trainer) -> dict[str, Any] | None:
    """The card of the trainer's ``CostCard``; None if nothing was trained."""
    cards = (callback for callback in trainer.callbacks if isinstance(callback, CostCard))  # type: ignore[attr-defined]
    return next((it.card(trainer) for it in cards if it._batches), None)


def _compute_type(trainer: Trainer) -> torch.dtype:
    """Type in which matrix products are computed."""
    precision = str(trainer.precision)
    return torch.bfloat16 if "bf16" in precision else torch.float16 if "16" in precision else torch.float32


def peak_memory_mib() -> float:
    """Peak memory of the accelerator in MiB; without one, of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return peak_resident_mib()
