"""Averages and rows of an evaluation epoch; ranks meet once, at its end."""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from mpma_lightning.distributed import world_size

T = TypeVar("T")


class RunningMeans:
    """Sum and count by name, in float64; a rank may hold fewer batches or other names than the next."""

    def __init__(self) -> None:
        self._totals: dict[str, tuple[float, float]] = {}

    def update(self, name: str, total: Tensor, count: Tensor) -> None:
        """Add one batch's sum and count."""
        old_total, old_count = self._totals.get(name, (0.0, 0.0))
        self._totals[name] = (old_total + float(total), old_count + float(count))

    def compute(self) -> dict[str, float]:
        """Mean by name over all ranks (names that counted nothing are left out), and start afresh."""
        everywhere = gather_objects(self._totals)
        self._totals = {}
        names = sorted({name for totals in everywhere for name in totals})
        sums = {n: [sum(t.get(n, (0.0, 0.0))[i] for t in everywhere) for i in (0, 1)] for n in names}
        return {name: total / count for name, (total, count) in sums.items() if count > 0}


class Rows:
    """Columns of an evaluation epoch, one row a sample: tensors and lists, on the CPU."""

    def __init__(self) -> None:
        self._columns: dict[str, list[np.ndarray]] = {}

    def add(self, **columns: Tensor | Sequence[Any]) -> None:
        """Add one batch."""
        for name, values in columns.items():
            self._columns.setdefault(name, []).append(
                _array(values) if isinstance(values, Tensor) else np.array(values, dtype=object)
            )

    def gather(self) -> dict[str, np.ndarray]:
        """The columns over all ranks, and start afresh; a collective. Empty where no rank has a row."""
        everywhere = gather_objects(self._columns)
        self._columns = {}
        names = {name: None for columns in everywhere for name in columns}
        return {n: np.concatenate([part for columns in everywhere for part in columns.get(n, [])]) for n in names}


def _array(values: Tensor) -> np.ndarray:
    """NumPy has no bfloat16."""
    values = values.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def gather_objects(mine: T) -> list[T]:
    """One object of every rank, in rank order; a collective, so every rank must call it."""
    if world_size() == 1:
        return [mine]
    everywhere: list[T] = [mine] * world_size()
    dist.all_gather_object(everywhere, mine)
    return everywhere
