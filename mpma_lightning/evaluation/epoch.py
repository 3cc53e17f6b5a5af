"""Sums, means and rows of an evaluation epoch, gathered over ranks at its end."""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from mpma_lightning.distributed import world_size

T = TypeVar("T")


class Sums:
    """Sums by name in float64; a rank may hold fewer batches or other names than the next."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}

    def add(self, **values: Tensor | float) -> None:
        """Add one batch."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)

    def gather(self) -> dict[str, float]:
        """The sums over all ranks, by name in alphabetical order, and start afresh; a collective."""
        everywhere = gather_objects(self._sums)
        self._sums = {}
        names = sorted({name for sums in everywhere for name in sums})
        return {name: sum(sums.get(name, 0.0) for sums in everywhere) for name in names}


class RunningMeans:
    """Means by name, from sums and counts."""

    def __init__(self) -> None:
        self._totals, self._counts = Sums(), Sums()

    def update(self, name: str, total: Tensor, count: Tensor) -> None:
        """Add one batch's sum and count."""
        self._totals.add(**{name: total})
        self._counts.add(**{name: count})

    def compute(self) -> dict[str, float]:
        """Mean by name over all ranks (names that counted nothing are left out), and start afresh; a collective."""
        totals, counts = self._totals.gather(), self._counts.gather()
        return {name: total / counts[name] for name, total in totals.items() if counts[name] > 0}


class Rows:
    """Columns of an evaluation epoch, one row per sample, on the CPU."""

    def __init__(self) -> None:
        self._columns: dict[str, list[np.ndarray]] = {}

    def add(self, **columns: Tensor | Sequence[Any]) -> None:
        """Add one batch."""
        for name, values in columns.items():
            self._columns.setdefault(name, []).append(
                _array(values) if isinstance(values, Tensor) else np.array(values, dtype=object)
            )

    def columns(self) -> dict[str, np.ndarray]:
        """The columns of this rank."""
        return {name: np.concatenate(parts) for name, parts in self._columns.items()}

    def gather(self) -> dict[str, np.ndarray]:
        """The columns of all ranks, and start afresh; empty if no rank has a row. A collective."""
        everywhere = gather_objects(self._columns)
        self._columns = {}
        names = {name: None for columns in everywhere for name in columns}
        return {n: np.concatenate([part for columns in everywhere for part in columns.get(n, [])]) for n in names}


def _array(values: Tensor) -> np.ndarray:
    """NumPy has no bfloat16."""
    values = values.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def gather_objects(mine: T) -> list[T]:
    """The object of every rank, in rank order; a collective."""
    if world_size() == 1:
        return [mine]
    everywhere: list[T] = [mine] * world_size()
    dist.all_gather_object(everywhere, mine)
    return everywhere
