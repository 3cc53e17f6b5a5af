"""Guard against configured losses that train nothing."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import nn
from torch.optim import Optimizer

from data_modules.errors import UserError
from mpma_lightning.callbacks.watched import Watched
from mpma_lightning.evaluation.epoch import gather_objects

MIN_STEPS = 100
"""A run that ends in its first epoch is checked only after as many steps."""


class Liveness(Callback):
    """Stops the run at the end of the first epoch if in the whole epoch a loss gave no gradient to an encoder that it
    should train (the task's ``gradient_norms``), or a part that is not frozen (of the backbone, an objective, a head)
    received no gradient. A whole epoch, because a single step may give exactly zero, for example where the last layer
    is initialised with zeros.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, nn.Module] | None = None
        self._alive: set[str] = set()
        self._known: set[str] = set()
        self._done = False

    def state_dict(self) -> dict[str, Any]:
        return {"alive": sorted(self._alive), "known": sorted(self._known), "done": self._done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._alive, self._known = set(state_dict["alive"]), set(state_dict["known"])
        self._done = state_dict["done"]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._done:
            return
        norms = pl_module.gradient_norms if isinstance(pl_module, Watched) else {}
        self._known |= set(norms)
        # one that lives already is not read again: reading waits for the device
        self._alive |= {name for name, norm in norms.items() if name not in self._alive and norm > 0}

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if self._done:
            return
        if self._waiting is None:
            self._waiting = {name: part for name, part in parts_of(pl_module).items() if name not in self._alive}
        for name, part in list(self._waiting.items()):
            if any(p.grad is not None and torch.any(p.grad) for p in part.parameters()):
                del self._waiting[name]
                self._alive.add(name)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        whole = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if self._done or self._waiting is None or not (whole or trainer.global_step >= MIN_STEPS):
            return
        self._done = True
        alive = set().union(*gather_objects(self._alive))
        pairs = [name.split("/") for name in sorted(self._known - alive)]
        dead = [f"'{loss}' gives no gradient to the {encoder} encoder" for loss, encoder in pairs]
        dead += [f"nothing gives a gradient to {name}" for name in self._waiting]
        if dead:
            raise UserError(
                f"{'; '.join(dead)}, in the {trainer.global_step} steps up to the end of the first epoch. Set the "
                "weight of that loss to 0, or correct its inputs; freeze parts that should not train by "
                "requires_grad_(False)"
            )


def parts_of(task: nn.Module) -> dict[str, nn.Module]:
    """Modules with trainable weights, by dotted name: the task's children; of the backbones and of module lists, their
    children."""
    found: dict[str, nn.Module] = {}
    for name, child in task.named_children():
        inner = dict(child.named_children())
        opened = inner if name in ("backbone", "blind") or isinstance(child, (nn.ModuleDict, nn.ModuleList)) else None
        found |= {name: child} if opened is None else {f"{name}.{key}": part for key, part in opened.items()}
    return {name: part for name, part in found.items() if any(p.requires_grad for p in part.parameters())}
