"""Guard against collapsed representations: almost the same features for every sample."""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from mpma_lightning.evaluation.epoch import gather_objects
from mpma_lightning.evaluation.metric import reference
from mpma_lightning.tasks.base import Task

ENCODERS = ("image", "text")


class Collapse(Callback):
    """Logs ``val/image_spread`` and ``val/text_spread`` while fitting, and warns when one is below ``least``.

    Only the features of the task's own validation step count, not those that other callbacks compute. The spread of
    unit-length pooled features z is ``sqrt(1 - |mean z|²)``, the root of their summed variances (SimSiam's
    measure, Chen and He, CVPR 2021, without its 1/sqrt(D)): 0 when all samples look alike, 1 when directions cancel.

    Args:
        least: spread below which an encoder counts as collapsed.
    """

    def __init__(self, least: float = 0.01) -> None:
        self.least = least
        self._sums: dict[str, tuple[Tensor, int]] = {}
        self._hooks: list[RemovableHandle] = []

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._sums = {}
        if trainer.state.fn == "fit" and isinstance(pl_module, Task):
            self._hooks = [
                pl_module.backbone.get_submodule(part).register_forward_hook(partial(self._add, pl_module, part))
                for part in ENCODERS
                if part in pl_module.backbone.parts
            ]

    def _add(self, task: Task, part: str, _module: Any, _inputs: Any, features: Any) -> None:
        if not task.in_evaluation_step:
            return
        directions = F.normalize(features.pooled.detach().double(), dim=-1)
        total, count = self._sums.get(part, (torch.zeros_like(directions[0]), 0))
        self._sums[part] = (total + directions.sum(0), count + len(directions))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        if trainer.state.fn != "fit" or trainer.sanity_checking or not isinstance(pl_module, Task):
            return
        ranks = gather_objects({part: (total.cpu(), count) for part, (total, count) in self._sums.items()})
        for part in sorted({part for rank in ranks for part in rank}):
            total = torch.stack([rank[part][0] for rank in ranks if part in rank]).sum(0)
            count = sum(rank[part][1] for rank in ranks if part in rank)
            spread = float((1 - (total / count).square().sum()).clamp(min=0).sqrt())
            pl_module.log_scores("val", {reference(f"{part}_spread", unit="ratio"): spread})
            if spread < self.least and count > 1:
                rank_zero_warn(
                    f"the {part} encoder has collapsed: at step {trainer.global_step} its features of {count} "
                    f"validation samples differ by {spread:.2g} of their length (below collapse.least {self.least:g}); "
                    "lower model.optim.lr, lengthen the warm-up, or give the alignment losses more weight"
                )
