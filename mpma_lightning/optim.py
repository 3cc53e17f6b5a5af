"""One dataclass for the optimiser: parameter groups, warm-up and cosine per step."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from mpma_lightning.errors import UserError

NO_DECAY_NAMES = ("pos_embed", "cls_token", "reg_token", "mask_token", "memory_keys", "memory_values", "log_scale")


@dataclass
class Optim:
    """AdamW with linear warm-up, then cosine to zero, per step.

    Attributes:
        lr: learning rate; per 256 samples of global batch when ``reference_batch`` is 256 [MRM, MAE].
        reference_batch: global batch the rate is given for; ``null`` takes ``lr`` as it is.
        betas: of AdamW.
        weight_decay: none on biases, norms, positions, tokens and memory.
        warmup: steps of linear warm-up; a share of all steps when below 1.
        min_lr: where the cosine ends, as a share of ``lr``.
    """

    lr: float = 1.5e-4
    reference_batch: int | None = 256
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.05
    warmup: float = 0.1
    min_lr: float = 0.0

    def build(self, module: nn.Module, global_batch: int, total_steps: float) -> tuple[torch.optim.Optimizer, LambdaLR]:
        """Optimiser and scheduler (call once a step).

        Args:
            module: whose trainable parameters are optimised.
            global_batch: samples an optimiser step, over ranks and accumulation.
            total_steps: optimiser steps of the whole run.

        Raises:
            UserError: the number of steps is not known.
        """
        if not math.isfinite(total_steps) or total_steps < 0:
            raise UserError(
                "the schedule needs to know how long training is; set trainer.max_steps or trainer.max_epochs"
            )
        lr = self.lr * (global_batch / self.reference_batch if self.reference_batch else 1)
        groups = parameter_groups(module.named_parameters(), self.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=lr, betas=self.betas)
        return optimizer, LambdaLR(optimizer, self._schedule(int(total_steps)))

    def _schedule(self, total: int) -> Callable[[int], float]:
        warmup = round(self.warmup * total) if self.warmup < 1 else round(self.warmup)

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / (warmup + 1)
            progress = min(1.0, (step - warmup) / max(1, total - warmup))
            return self.min_lr + (1 - self.min_lr) * 0.5 * (1 + math.cos(math.pi * progress))

        return factor


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]], weight_decay: float
) -> list[dict[str, float | list[nn.Parameter]]]:
    """Two groups: decayed matrices, and the rest (vectors, positions, tokens, memory) without decay."""
    decay: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in named:
        if not parameter.requires_grad:
            continue
        exempt = parameter.ndim < 2 or "position_embeddings" in name or name.rsplit(".", 1)[-1] in NO_DECAY_NAMES
        (plain if exempt else decay).append(parameter)
    groups = [(decay, weight_decay), (plain, 0.0)]
    return [{"params": params, "weight_decay": value} for params, value in groups if params]
