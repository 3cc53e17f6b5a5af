"""What the guards read of a task while it trains."""

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Watched(Protocol):
    """A task whose losses and gradients the guards can name; without it they know the total loss only."""

    rank_losses: dict[str, Tensor]
    """Losses of the last training step on this process, by name."""
    gradient_norms: dict[str, Tensor]
    """Norm of each loss's gradient at each encoder's features, by ``<loss>/<encoder>``, where the task measures it."""
