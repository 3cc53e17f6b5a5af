"""Global alignment: symmetric InfoNCE over the batch of all ranks, with groups."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from data_modules.errors import expect
from mpma_lightning.backbones import Backbone
from mpma_lightning.distributed import first_local_row, gather_rows
from mpma_lightning.objectives.base import Objective, ObjectiveOptions
from mpma_lightning.objectives.state import PretrainingState
from mpma_lightning.precision import full_precision


@dataclass
class GlobalAlignmentOptions(ObjectiveOptions):
    """L_g [MGCA], with groups [ours]: pairs of one study or one text are positives, not negatives.

    Attributes:
        weight: λ_g.
        temperature: τ_g.
        learn_temperature: train the log-scale, bounded to τ ≥ 0.01.
        multi_positive: how other positives of a row count. ``uniform``: the target is uniform over all positives;
            ``mask``: the own pair is the target, and other positives are left out of the denominator.
    """

    temperature: float = 0.07
    learn_temperature: bool = False
    multi_positive: Literal["uniform", "mask"] = "uniform"

    needs: ClassVar[tuple[str, ...]] = ("align_global",)

    def build(self, backbone: Backbone) -> "GlobalAlignment":
        return GlobalAlignment(self)


def bounded(log_scale: Tensor) -> Tensor:
    """log 1/τ, at most log 100 if it is learned [CLIP].

    The parameter itself is clamped, as CLIP does after each step: clamping in the forward pass would give it no
    gradient beyond the bound. A fixed value is not clamped.
    """
    if isinstance(log_scale, nn.Parameter):
        log_scale.data.clamp_(max=math.log(100))
    return log_scale


def group_contrast(logits: Tensor, row_group: Tensor, column_group: Tensor, counted: Tensor | None = None) -> Tensor:
    """Cross-entropy of each row to the uniform target over its group's columns, less its floor log|P|.

    Args:
        logits: (b, n) similarities over τ, finite.
        row_group, column_group: (b,) and (n,) int64.
        counted: (n,) bool, the columns that there are; None: all.

    Returns:
        (b,) losses, 0 at best; without meaning for a row without a column of its group.
    """
    positive = row_group.unsqueeze(1) == column_group.unsqueeze(0)
    if counted is not None:
        logits, positive = logits.masked_fill(~counted, torch.finfo(logits.dtype).min), positive & counted
    log_probability = logits.log_softmax(dim=1)
    count = positive.sum(1).clamp(min=1)
    return -(log_probability * positive).sum(1) / count - count.to(logits.dtype).log()


def own_contrast(logits: Tensor, row_group: Tensor, column_group: Tensor, first: int) -> Tensor:
    """Cross-entropy of each row to its own column, ``first`` + row, against the columns of other groups.

    Args:
        logits, row_group, column_group: as in :func:`group_contrast`.
        first: the column of row 0.

    Returns:
        (b,) losses, 0 at best.
    """
    own = torch.arange(first, first + len(logits), device=logits.device).unsqueeze(1)
    mates = (row_group.unsqueeze(1) == column_group.unsqueeze(0)).scatter(1, own, False)
    return logits.masked_fill(mates, -torch.inf).logsumexp(1) - logits.gather(1, own).squeeze(1)


class GlobalAlignment(Objective):
    """½ (image→text + text→image); sum over local rows, columns from every rank."""

    trains = ("image", "text")

    def __init__(self, options: GlobalAlignmentOptions) -> None:
        super().__init__()
        expect(options.temperature > 0, "temperature of global alignment", options.temperature, "more than 0")
        self.multi_positive = options.multi_positive
        log_scale = torch.tensor(math.log(1 / options.temperature))
        self.log_scale: Tensor
        if options.learn_temperature:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)

    def forward(self, state: PretrainingState) -> tuple[Tensor, Tensor]:
        """Sum over the local pairs, and their number."""
        state.require("image", "report_mask", "group")
        assert state.group is not None
        image, text, group = state.global_image, state.global_text, state.group
        gather = gather_rows if state.across_ranks else (lambda rows: rows)
        all_groups, scale = gather(group), bounded(self.log_scale).exp()
        with full_precision(image):
            to_text, to_image = scale * image @ gather(text).T, scale * text @ gather(image).T
        if self.multi_positive == "uniform":
            loss = group_contrast(to_text, group, all_groups) + group_contrast(to_image, group, all_groups)
        else:
            first = first_local_row(len(image)) if state.across_ranks else 0
            loss = own_contrast(to_text, group, all_groups, first) + own_contrast(to_image, group, all_groups, first)
        return loss.sum() / 2, torch.full((), float(len(image)), device=image.device)

    def monitor(self, state: PretrainingState) -> dict[str, tuple[Tensor, Tensor]]:
        """In-batch retrieval accuracy (local batch): the best report of an image is one of its group."""
        assert state.group is not None
        best = (state.global_image @ state.global_text.T).argmax(1)
        right = state.group[best] == state.group
        return {"in_batch_retrieval": (right.sum().float(), torch.full((), float(len(right)), device=best.device))}
