"""Collectives with the right gradient."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of processes; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number; 0 without a process group."""
    return dist.get_rank() if world_size() > 1 else 0


class _Gather(torch.autograd.Function):
    """Concatenate rows over ranks; the gradient of a rank's rows is the sum over ranks of what they send back."""

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
    """(b, …) of every rank as (world · b, …), differentiably; every rank must hold the same number of rows."""
    return _Gather.apply(rows) if world_size() > 1 else rows


def sum_over_ranks(value: Tensor) -> Tensor:
    """Sum over ranks, without gradient."""
    if world_size() == 1:
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total


def first_local_row(local_rows: int) -> int:
    """Where this rank's rows begin in what :func:`gather_rows` returns."""
    return rank() * local_rows


def global_mean(total: Tensor, count: Tensor) -> Tensor:
    """A rank's share of sum/count over all ranks: DDP's averaging of gradients then gives the single-process gradient.

    Args:
        total: this rank's sum, with gradient.
        count: this rank's count.

    Returns:
        ``total / (count over all ranks / world)``; 0 when nothing was counted anywhere.
    """
    everywhere = sum_over_ranks(count.to(total.dtype))
    return total * (world_size() / everywhere.clamp(min=1))
