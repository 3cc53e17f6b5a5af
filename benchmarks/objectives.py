"""What each objective costs by itself as the batch grows, and what share of a step local alignment is.

    python benchmarks/objectives.py [--batches 8 16 32 64 128] [--objectives local_alignment …] [--repeats 3]

The model is the row ``mpma`` of step.py, with matching. Encoders do not run: the objectives read random features of
their sizes. What belongs to an objective does: its heads, its decoder, and the fusion of the pairs of matching.

*seconds* is the least of the repeats of forward and backward, *memory* the most that torch had allocated beyond what
there was before; both also per sample, divided by that of the first batch: 1.00 where the cost is linear. *of a step*
is the time beside that of a whole step, which is measured at the first batch and taken to be linear.
"""

import argparse
import os
import sys
import time
from itertools import accumulate
from pathlib import Path
from typing import Any

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler tells its own steps

import torch
from torch import Tensor

from data_modules.machine import cores
from mpma_lightning.backbones import Features
from mpma_lightning.objectives import Objective, PretrainingState
from mpma_lightning.tasks.pretraining import PretrainingTask

sys.path.insert(0, str(Path(__file__).parent / "steps"))
import ours

PIECES, TOKENS = 30_000, 100
NAMES = (
    "image_reconstruction",
    "report_reconstruction",
    "global_alignment",
    "local_alignment",
    "image_text_matching",
)


def state_of(task: PretrainingTask, batch: dict[str, Any]) -> PretrainingState:
    """A batch whose features are noise, where the encoders' outputs would be."""
    state = task.state(task.on_before_batch_transfer(batch, 0), training=True)
    assert state.image_mask is not None and state.input_ids is not None and state.pairing == "joint"
    width, kept = task.backbone.text.width, state.image_mask.visible.shape[1]
    count, length = state.input_ids.shape
    side = round(state.image_mask.masked.shape[1] ** 0.5)

    def noise(*shape: int) -> Tensor:
        return torch.randn(count, *shape, width).requires_grad_()

    words = noise(length)
    state.__dict__["image_features"] = Features(noise(), noise(kept), noise(1), (side, side), state.image_mask.visible)
    state.__dict__["text_features"] = Features(noise(), words, words[:, :0])
    state.__dict__["fused"] = noise(length)
    return state


def pass_of(objective: Objective, state: PretrainingState) -> float:
    """Seconds of forward and backward."""
    begin = time.perf_counter()
    total, count = objective(state)
    (total / count).backward()
    return time.perf_counter() - begin


def peak_mib(objective: Objective, state: PretrainingState) -> float:
    """The most that is allocated at once in :func:`pass_of`, beyond what there was before."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as watched:
        pass_of(objective, state)
    events = [event for event in watched.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = (event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))
    return max(accumulate(changes)) / 2**20


def step_seconds(task: PretrainingTask, batch: dict[str, Any]) -> float:
    """Forward and backward of a whole step."""
    begin = time.perf_counter()
    task.training_step(task.on_before_batch_transfer(batch, 0), 0).backward()
    seconds = time.perf_counter() - begin
    task.zero_grad(set_to_none=True)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 16, 32, 64, 128])
    parser.add_argument("--objectives", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--repeats", type=int, default=3, help="after one that does not count")
    parser.add_argument("--threads", type=int, default=cores())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    first = given.batches[0]
    task = ours.task_of(ours.changed(ours.rows()["mpma"], image_text_matching={"weight": 1.0}), PIECES, first)
    inputs = {count: ours.batches(task, PIECES, count, TOKENS, pad=False)[0] for count in given.batches}
    step = ours.task_of(ours.rows()["mpma"], PIECES, first)
    whole = min([step_seconds(step, inputs[first]) for _ in range(1 + given.repeats)][1:])
    del step
    print(f"{given.threads} threads, fp32; a step of {first} pairs, forward and backward: {whole:.2f} s\n")
    print(f"{'':<23}{'batch':>6}{'seconds':>10}{'a sample':>9}{'memory':>12}{'a sample':>9}{'of a step':>11}")
    for name in given.objectives:
        objective: Any = task.objectives[name]
        seconds: dict[int, list[float]] = {count: [] for count in given.batches}
        for _ in range(1 + given.repeats):  # in turns, so that whatever else the machine does hits all alike
            for count in given.batches:
                seconds[count].append(pass_of(objective, state_of(task, inputs[count])))
        for count in given.batches:
            least, mib = min(seconds[count][1:]), peak_mib(objective, state_of(task, inputs[count]))
            if count == first:
                per_second, per_mib = least / count, mib / count
            share = least / (whole / first * count)
            print(f"{name:<23}{count:>6}{least:>10.4f}{least / count / per_second:>9.2f}{mib:>8,.0f} MiB"
                  f"{mib / count / per_mib:>9.2f}{share:>11.1%}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
