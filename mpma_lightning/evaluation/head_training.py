"""Trains a linear head on cached features, with early stopping on the validation loss."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mpma_lightning.objectives.labels import label_loss


@dataclass
class ProbeOptions:
    """How a linear probe is trained [MGCA].

    Attributes:
        lr: learning rate of AdamW.
        weight_decay: weight decay of AdamW.
        batch_size: samples per step.
        max_epochs: maximal number of epochs.
        patience: number of epochs without a lower validation loss after which training stops.
        standardise: scale features to zero mean and unit variance over all training images. MGCA does not; with a small
            fraction of labels it helps to converge in few steps.
    """

    lr: float = 5e-4
    weight_decay: float = 1e-6
    batch_size: int = 48
    max_epochs: int = 50
    patience: int = 10
    standardise: bool = False


def train_head(
    head: nn.Module,
    train: tuple[Tensor, Tensor],
    val: tuple[Tensor, Tensor],
    options: ProbeOptions,
    exclusive: bool,
    seed: int,
) -> int:
    """Train in place and keep the weights of the lowest validation loss. Returns their epoch.

    Args:
        head: (B, D) to (B, K).
        train, val: features (N, D) and labels (N, K), NaN = unknown.
        options: of the training.
        exclusive: every sample has exactly one class.
        seed: of the order of the samples.
    """
    features, labels = train
    optimizer = torch.optim.AdamW(head.parameters(), lr=options.lr, weight_decay=options.weight_decay)
    generator = torch.Generator().manual_seed(seed)
    best, best_epoch, kept = float("inf"), 0, {n: v.clone() for n, v in head.state_dict().items()}
    for epoch in range(1, options.max_epochs + 1):
        for rows in torch.randperm(len(features), generator=generator).split(options.batch_size):
            total, count = label_loss(head(features[rows]), labels[rows], exclusive)
            optimizer.zero_grad()
            (total / count.clamp(min=1)).backward()
            optimizer.step()
        with torch.no_grad():
            total, count = label_loss(head(val[0]), val[1], exclusive)
        loss = float(total / count.clamp(min=1))
        if loss < best:
            best, best_epoch, kept = loss, epoch, {n: v.clone() for n, v in head.state_dict().items()}
        elif epoch - best_epoch >= options.patience:
            break
    head.load_state_dict(kept)
    return best_epoch
