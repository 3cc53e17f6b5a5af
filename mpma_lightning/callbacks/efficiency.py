"""Settings that save time or memory and do not change the result: compilation, gradient checkpointing."""

from typing import Any

import torch
import torch._functorch.config as functorch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import nn
from torch.utils.checkpoint import checkpoint

from mpma_lightning.tasks.base import Task

CONTAINERS = (nn.ModuleList, nn.Sequential)
BLOCK_NAMES = ("blocks", "layers", "layer")


class Efficiency(Callback):
    """Applies to every task and backbone in ``fit``.

    Args:
        compile: apply ``torch.compile`` to each part of the backbone; weights keep their names. The first steps, and
            the first step with a new shape, are slow.
        gradient_checkpointing: store only the inputs of transformer blocks and compute the rest again in the backward
            pass: less memory for about a third more computation. Blocks with batch normalisation are excluded, as
            their running statistics would be updated twice.
        compile_backend: backend of ``torch.compile``.
    """

    def __init__(
        self, compile: bool = False, gradient_checkpointing: bool = False, compile_backend: str = "inductor"
    ) -> None:
        self.compile, self.compile_backend = compile, compile_backend
        self.gradient_checkpointing = gradient_checkpointing

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.gradient_checkpointing:
            found = blocks_of(pl_module)
            for block in found:
                recompute(block)
            rank_zero_info(f"gradient checkpointing: {len(found)} blocks")
        if self.compile and isinstance(pl_module, Task):
            functorch.donated_buffer = False  # PretrainingTask differentiates single losses, which keeps the graph
            for part in pl_module.backbone.children():
                part.compile(backend=self.compile_backend)


def blocks_of(module: nn.Module) -> list[nn.Module]:
    """Members of the outermost lists named ``blocks``, ``layers`` or ``layer``, without batch normalisation."""
    found: list[nn.Module] = []
    for name, child in module.named_children():
        if isinstance(child, CONTAINERS) and name in BLOCK_NAMES:
            found += [block for block in child if not _has_batch_norm(block)]
        else:
            found += blocks_of(child)
    return found


def _has_batch_norm(module: nn.Module) -> bool:
    return any(isinstance(inner, nn.modules.batchnorm._BatchNorm) for inner in module.modules())


def recompute(block: nn.Module) -> None:
    """Make ``block`` store only its inputs in training; the repeated forward pass draws the same random numbers."""
    forward = block.forward

    def checkpointed(*inputs: Any, **options: Any) -> Any:
        if block.training and torch.is_grad_enabled():
            return checkpoint(forward, *inputs, use_reentrant=False, **options)
        return forward(*inputs, **options)

    block.forward = checkpointed
