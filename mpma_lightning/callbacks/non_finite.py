"""Guard against losses and gradients that are not finite: stop, or skip a few optimiser steps."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from data_modules.errors import UserError
from mpma_lightning.callbacks.watched import Watched
from mpma_lightning.distributed import sum_over_ranks
from mpma_lightning.evaluation.epoch import gather_objects

FILE = "non_finite.jsonl"


class NonFinite(Callback):
    """Stops, on all ranks, before a step with a loss or gradient that is not finite changes the weights. Each such step
    is a line of ``non_finite.jsonl`` in the run folder: the step, ``loss`` or ``gradient``, and each rank's losses and
    sample ids (of all batches of the step).

    Under fp16 only the loss is checked: the loss scaler expects gradients to overflow and skips those steps itself.

    Args:
        skip: number of optimiser steps in the whole run that may be skipped; 0 stops at the first one. A skipped step
            counts in the schedule; weights and optimiser state do not change.
    """

    def __init__(self, skip: int = 0) -> None:
        self.skip = skip
        self.skipped = 0
        self._ids: list[str] = []
        self._seen: list[tuple[Tensor, dict[str, Tensor]]] = []

    def state_dict(self) -> dict[str, int]:
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.skipped = state_dict["skipped"]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._ids += batch["id"] if isinstance(batch, dict) and "id" in batch else []

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        mine = dict(pl_module.rank_losses) if isinstance(pl_module, Watched) else {"loss": loss.detach()}
        self._seen.append((torch.isfinite(sum_over_ranks(loss.detach().float())), mine))

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        flags = [finite for finite, _ in self._seen]
        if getattr(trainer.precision_plugin, "scaler", None) is None:
            gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
            flags.append(torch.isfinite(get_total_norm(gradients)).to(flags[0].device))
        finite = torch.stack(flags).tolist()  # the one place of a step that waits for the device
        if not all(finite):
            broken = [losses for (_, losses), sound in zip(self._seen, finite, strict=False) if not sound]
            self._report(trainer, broken[-1] if broken else None)
            for parameter in pl_module.parameters():
                parameter.grad = None
        self._ids, self._seen = [], []

    def _report(self, trainer: Trainer, broken: dict[str, Tensor] | None) -> None:
        """Write a line to the file, then warn or raise UserError; a collective. ``broken``: the losses of this process
        where one is not finite; None where the gradient is not."""
        what, step = "gradient" if broken is None else "loss", trainer.global_step
        mine = {name: float(value) for name, value in (broken or {}).items()}
        ranks = gather_objects((mine, self._ids))
        path = Path(trainer.default_root_dir) / FILE
        if trainer.is_global_zero:
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = [{"losses": {k: str(v) for k, v in losses.items()}, "ids": ids} for losses, ids in ranks]
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, "what": what, "ranks": rows}) + "\n")
        losses, samples = min(ranks, key=lambda rank: all(map(math.isfinite, rank[0].values())))
        values = ", ".join(f"{name} {value:g}" for name, value in losses.items())
        ids = f"{', '.join(samples[:8])}{' …' if len(samples) > 8 else ''}"
        found = (
            f"the {what} is not finite at step {step}{f' ({values})' if values else ''}; samples of the batch: {ids}"
        )
        if self.skipped >= self.skip:
            left = f"{self.skip} steps were skipped already (non_finite.skip)" if self.skip else "Look at these samples"
            run = Path(trainer.default_root_dir)
            raise UserError(
                f"{found}. {left}, or lower model.optim.lr. To find the operation: python -m mpma_lightning fit "
                f"--config {run / 'config.yaml'} --config experiments/debug/anomaly.yaml "
                f"--trainer.default_root_dir {run}"
            )
        self.skipped += 1
        rank_zero_warn(f"{found}. Step skipped, {self.skipped} of {self.skip}; see {path}")
