"""A process that does one training step whenever its parent says so. It needs torch alone, of any version from 1.12.

A line protocol: the process says what it is, then answers each line of its parent by one line of JSON. To ``step``: the
seconds that the step took, and its loss; to ``end``: its peak memory, and that of libraries, weights, gradients and
optimiser.
"""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import torch

LENGTHS = (23, 30, 35, 40, 45, 52, 64, 88)
"""Words, marks and the two special tokens of Open-i reports (findings and impression): the middles of eight equal parts
of 3,927 reports."""


def resident_mib() -> float:
    """The most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def arguments(*positional: str) -> argparse.Namespace:
    """What the parent passes on."""
    parser = argparse.ArgumentParser()
    for name in positional:
        parser.add_argument(name)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--precision", choices=("fp32", "bf16"), required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    return given


def imported(given: argparse.Namespace) -> None:
    """Call it after all imports: ``libraries_mib`` is what they take of the memory."""
    given.libraries_mib = resident_mib() if given.device == "cpu" else 0.0


def lengths(batch: int, most: int) -> list[int]:
    """Of the reports of a batch, the middles of ``batch`` equal parts; at most ``most`` tokens each."""
    return [min(most, LENGTHS[(2 * i + 1) * len(LENGTHS) // (2 * batch)]) for i in range(batch)]


def groups(model: torch.nn.Module, decay: float = 0.05) -> list[dict[str, Any]]:
    """Weights of an official model for :func:`optimised`; vectors do not decay."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    return [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]


def optimised(groups: Iterable[Any], lr: float = 1.5e-4) -> torch.optim.Optimizer:
    """The optimiser of all rows, so that they differ in the model alone."""
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95))


def serve(
    model: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    loss: Callable[[], torch.Tensor],
    given: argparse.Namespace,
) -> None:
    """Answer the parent until it says ``end``.

    Args:
        model: on its device, in training mode.
        optimiser: of its weights.
        loss: of the next batch.
        given: what :func:`arguments` returned.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print does not belong among the answers
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    cuda = given.device == "cuda"

    def step() -> dict[str, float]:
        cast = torch.autocast(given.device, torch.bfloat16) if given.precision == "bf16" else nullcontext()
        begin = time.perf_counter()
        with cast:
            value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if cuda:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - begin
        return {"seconds": seconds, "loss": float(value.detach())}

    def end() -> dict[str, float]:
        peak = torch.cuda.max_memory_allocated() / 2**20 if cuda else resident_mib()
        moments = (value for state in optimiser.state.values() for value in state.values() if torch.is_tensor(value))
        held = [*model.parameters(), *optimiser.state, *moments]  # weights, gradients of those that have one, moments
        held_mib = sum(it.numel() * it.element_size() for it in held) / 2**20
        return {"peak_mib": peak, "held_mib": held_mib + given.libraries_mib}

    def say(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    say({"torch": torch.__version__, "parameters": sum(weight.numel() for weight in model.parameters())})
    for line in sys.stdin:
        say(step() if line.strip() == "step" else end())
        if line.strip() == "end":
            return
