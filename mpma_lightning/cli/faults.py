"""Faults of the machine as one line: out of memory, a data worker that died, a lost process, a full disk."""

import errno
import re
from typing import Any

import torch

from data_modules.errors import UserError

_NO_MEMORY = re.compile(r"not enough memory|can't allocate memory|out of memory", re.IGNORECASE)
_DEAD_WORKER = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (.+)")
_LOST_PEER = re.compile(
    r"Connection closed by peer|Connection reset by peer|Broken pipe|remote process exited|NCCL.*(?:abort|unhandled)|"
    r"Timed out waiting|Socket Timeout|timeout caused pair closure|Watchdog caught collective",
    re.IGNORECASE,
)


def explain_fault(error: BaseException, data: Any) -> UserError | None:
    """``error`` as one line with a remedy; None for errors of other kinds.

    Args:
        error: what ended the run.
        data: the data module, which knows the batch size and the sample that each worker is reading.
    """
    message = str(error)
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and _NO_MEMORY.search(message)
    ):
        return _out_of_memory(message, data)
    if isinstance(error, RuntimeError) and (dead := _DEAD_WORKER.search(message)):
        return _dead_worker(dead[1], dead[2], data)
    if isinstance(error, RuntimeError) and (lost := _LOST_PEER.search(message)):
        return UserError(
            f"another process of this run ended or cannot be reached ({lost[0]}); its own message says why. The same "
            "command continues from the last checkpoint"
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f"{error.filename}: " if error.filename else ""
        return UserError(
            f"{where}{error.strerror}; make room, then the same command continues from the last checkpoint"
        )
    return None


def _out_of_memory(message: str, data: Any) -> UserError:
    batch = getattr(data, "batch_size", 2)
    smaller = f"--data.batch_size {max(batch // 2, 1)} --trainer.accumulate_grad_batches 2"
    first = message.strip().partition("\n")[0][:160]
    return UserError(
        f"out of memory at batch size {batch} ({first}); try {smaller} (the same global batch), "
        "--efficiency.gradient_checkpointing true, or --trainer.precision bf16-mixed"
    )


def _dead_worker(pids: str, how: str, data: Any) -> UserError:
    name = getattr(data, "sample_being_read", lambda pid: None)
    samples = [sample for pid in pids.split(",") if (sample := name(int(pid)))]
    at = f" while it read sample {', '.join(samples)}" if samples else ""
    return UserError(
        f"data worker {pids.strip()} {how.split('. ')[0].rstrip('. ')}{at}. Where memory ran out, lower "
        "data.num_workers; --data.num_workers 0 shows the sample's own error. The same command continues"
    )
