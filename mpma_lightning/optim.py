"""Optimiser, parameter groups and learning-rate schedule."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from data_modules.errors import UserError, expect, suggest
from mpma_lightning.backbones.encoder import ImageEncoder

NO_DECAY_NAMES = (
    *("pos_embed", "cls_token", "dist_token", "reg_token", "mask_token"),
    *("memory_keys", "memory_values", "memory_queries", "log_scale"),
)
NO_DECAY_TABLES = ("position_embeddings", "token_type_embeddings")


@dataclass
class Optim:
    """An optimiser whose learning rate rises linearly and then falls to ``min_lr``, step by step.

    Attributes:
        algorithm: ``adamw``, ``adam`` (weight decay as an L2 term) or ``sgd`` (with ``momentum``).
        lr: peak learning rate for a global batch of ``reference_batch`` samples; it scales with the batch [MRM, MAE].
        reference_batch: global batch size that ``lr`` is meant for; ``null``: ``lr`` does not scale with the batch.
        betas: coefficients of AdamW and Adam.
        momentum: momentum of SGD.
        weight_decay: weight decay of matrices; biases, norms, positions, special tokens and memory have none.
        warmup: number of warm-up steps; a share of all steps when below 1.
        decay: shape of the schedule after warm-up.
        steps: length of the schedule in steps; null: of the run. In a longer run a cosine rises and falls again, as in
            the published code [BenchX], and a line stays at ``min_lr``.
        min_lr: final learning rate as a share of the peak.
        scale: learning-rate factors by prefix of a parameter's name, such as ``{backbone.text: 4, heads: 50}``; the
            longest matching prefix counts. The layer decay of a protocol multiplies them.
    """

    algorithm: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = 1.5e-4
    reference_batch: int | None = 256
    betas: tuple[float, float] = (0.9, 0.95)
    momentum: float = 0.9
    weight_decay: float = 0.05
    warmup: float = 0.1
    decay: Literal["cosine", "linear"] = "cosine"
    steps: int | None = None
    min_lr: float = 0.0
    scale: dict[str, float] = field(default_factory=dict)

    def build(self, module: nn.Module, global_batch: int, total_steps: float) -> tuple[torch.optim.Optimizer, LambdaLR]:
        """Optimiser, and scheduler to be stepped after every optimiser step.

        Args:
            module: the module whose trainable parameters are optimised.
            global_batch: samples per optimiser step, over all ranks and accumulated batches.
            total_steps: number of optimiser steps in the whole run.

        Raises:
            UserError: a value is out of range, the number of steps is unknown, or a prefix in ``scale`` matches no
                trainable parameter.
        """
        if not math.isfinite(total_steps) or total_steps < 0:
            raise UserError(
                "the learning-rate schedule needs the length of training; set trainer.max_steps or trainer.max_epochs"
            )
        expect(self.steps is None or self.steps > 0, "model.optim.steps", self.steps, "1 or more, or null")
        for name in ("lr", "weight_decay", "warmup", "min_lr"):
            expect(getattr(self, name) >= 0, f"model.optim.{name}", getattr(self, name), "0 or more")
        expect(all(0 <= beta < 1 for beta in self.betas), "model.optim.betas", self.betas, "two of 0 <= beta < 1")
        lr = self.lr * (global_batch / self.reference_batch if self.reference_batch else 1)
        groups = parameter_groups(module.named_parameters(), self.weight_decay, lr, self.scale)
        optimizer: torch.optim.Optimizer
        if self.algorithm == "sgd":
            optimizer = torch.optim.SGD(groups, lr=lr, momentum=self.momentum)
        else:
            kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[self.algorithm]
            optimizer = kind(groups, lr=lr, betas=self.betas)
        return optimizer, LambdaLR(optimizer, self._schedule(self.steps or int(total_steps)))

    def _schedule(self, total: int) -> Callable[[int], float]:
        warmup = round(self.warmup * total) if self.warmup < 1 else round(self.warmup)

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / (warmup + 1)
            progress = (step - warmup) / max(1, total - warmup)
            if self.steps is None or self.decay == "linear":
                progress = min(1.0, progress)
            left = 1 - progress if self.decay == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
            return self.min_lr + (1 - self.min_lr) * left

        return factor


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]], weight_decay: float, lr: float, scale: dict[str, float]
) -> list[dict[str, Any]]:
    """Parameter groups by learning rate and weight decay.

    Matrices have weight decay; vectors, positions, special tokens and memory have none. A group is named after the
    prefix in ``scale`` that matches its first parameter, ``base`` without one.

    Raises:
        UserError: a prefix in ``scale`` matches no trainable parameter.
    """
    trainable = [(name, parameter) for name, parameter in named if parameter.requires_grad]
    for prefix in scale:
        if not any(name.startswith(prefix) for name, _ in trainable):
            near = suggest(prefix, {".".join(name.split(".")[:2]) for name, _ in trainable})
            raise UserError(f"model.optim.scale names '{prefix}', which fits no trainable parameter{near}")
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in trainable:
        listed = name.rsplit(".", 1)[-1] in NO_DECAY_NAMES or any(table in name for table in NO_DECAY_TABLES)
        decay = 0.0 if parameter.ndim < 2 or listed else weight_decay
        prefix = max((p for p in scale if name.startswith(p)), key=len, default="")
        factor, label = scale.get(prefix, 1.0), (prefix or "base") + ("" if decay else " (no decay)")
        group: dict[str, Any] = {"params": [], "lr": lr * factor, "weight_decay": decay, "name": label}
        groups.setdefault((factor, decay), group)["params"].append(parameter)
    return list(groups.values())


def multiplied(*scales: dict[str, float]) -> dict[str, float]:
    """A ``scale`` that gives every parameter the product of its factors in ``scales``."""
    longest = [sorted(scale, key=len, reverse=True) for scale in scales]
    return {
        prefix: math.prod(
            next((scale[name] for name in names if prefix.startswith(name)), 1.0)
            for scale, names in zip(scales, longest, strict=True)
        )
        for scale in scales
        for prefix in scale
    }


def layer_scales(encoder: ImageEncoder, decay: float, name: str) -> dict[str, float]:
    """Layer-wise learning-rate decay [BEiT, MAE]: from the last layer to the first, each factor is ``decay`` times the
    one before.

    Args:
        encoder: an encoder without ``depths`` has no factors.
        decay: factor between neighbouring layers, below 1.
        name: name of the encoder in the optimised module.
    """
    return {f"{name}.{start}": decay**depth for start, depth in encoder.depths.items()}
