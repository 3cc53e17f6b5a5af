"""Loss of class labels: binary cross-entropy of each known label, or cross-entropy of exclusive classes."""

import torch.nn.functional as F
from torch import Tensor

from mpma_lightning.precision import full


def label_loss(logits: Tensor, labels: Tensor, exclusive: bool) -> tuple[Tensor, Tensor]:
    """Sum and count over known labels (exclusive: over rows with exactly one positive); NaN enters neither.

    Args:
        logits: (B, K).
        labels: (B, K) 0, 1 or NaN.
        exclusive: every sample has exactly one class.
    """
    logits = full(logits)
    if exclusive:
        certain = labels.nan_to_num().sum(1) == 1
        truth = labels.nan_to_num().argmax(1).masked_fill(~certain, -100)
        return F.cross_entropy(logits, truth, ignore_index=-100, reduction="sum"), certain.sum()
    known = ~labels.isnan()
    losses = F.binary_cross_entropy_with_logits(logits, labels.nan_to_num(), reduction="none")
    return (losses * known).sum(), known.sum()
