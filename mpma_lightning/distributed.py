"""Collective operations whose gradients equal those of a single process."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of processes; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Rank of this process; 0 without a process group."""
    return dist.get_rank() if world_size() > 1 else 0


class _Gather(torch.autograd.Function):
    """Concatenates the rows of all ranks; the gradient of a rank's rows is the sum of their gradients on all ranks."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.start, ctx.length = rank() * len(rows), len(rows)
        parts = [torch.empty_like(rows) for _ in range(world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total[ctx.start : ctx.start + ctx.length]


def gather_rows(rows: Tensor) -> Tensor:
    """Rows (b, …) of all ranks as (world size · b, …), differentiable; every rank must have the same number of rows."""
    return _Gather.apply(rows) if world_size() > 1 else rows


def sum_over_ranks(value: Tensor) -> Tensor:
    """Sum of ``value`` over ranks, without gradient."""
    if world_size() == 1:
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total


def first_local_row(local_rows: int) -> int:
    """Index of this rank's first row in the result of :func:`gather_rows`."""
    return rank() * local_rows


def global_mean(total: Tensor, count: Tensor) -> Tensor:
    """A rank's part of the mean over all ranks, scaled such that DDP's average of gradients is the single-process one.

    Args:
        total: sum on this rank, with gradient.
        count: number of terms on this rank.

    Returns:
        ``total · world size / (count over all ranks)``; 0 when the count is 0 on all ranks.
    """
    everywhere = sum_over_ranks(count.to(total.dtype))
    return total * (world_size() / everywhere.clamp(min=1))
