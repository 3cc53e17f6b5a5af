"""Every task: the gradients and the metrics of several processes are those of one, uneven last batches included."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from every_task import EVALUATE, SAMPLES, TRAIN, build, rows
from process_group import averaged, on_ranks, worst_difference

from data_modules.loading.batch_sampler import ShardedBatchSampler
from mpma_lightning import distributed
from mpma_lightning.tasks.dense import DenseTask
from mpma_lightning.tasks.linear_probe import LinearProbeTask

TRAINED = 8
UNSETTLED = "_alpha"
"""α of rerank is chosen among equal ones by what half precision leaves of the tokens."""


def gradients(name: str) -> dict[str, torch.Tensor]:
    """Of the first samples, in the parts that the training sampler gives the processes."""
    task, batch, _trainer, _ = build(name)
    share = TRAINED // distributed.world_size()
    first = distributed.rank() * share
    task.training_step(rows(batch, list(range(first, first + share))), 0).backward()
    return averaged(task=task.head if isinstance(task, DenseTask) and task.frozen else task)


@torch.no_grad()
def metrics(name: str) -> dict[str, float]:
    """Of one evaluation epoch (and of a training epoch before it, where the task only encodes)."""
    task, batch, _trainer, logged = build(name)
    task.eval()
    sampler = ShardedBatchSampler(SAMPLES, 2, 0, distributed.rank(), distributed.world_size(), train=False)
    task.on_validation_start()
    for training in (True, False) if isinstance(task, LinearProbeTask) else (False,):
        for places in sampler:
            shard = rows(batch, [place for _, place in places])
            _ = task.training_step(shard, 0) if training else task.validation_step(shard, 0)
    task.on_validation_epoch_end()
    return {key: value for key, value in logged.items() if UNSETTLED not in key}


def everything() -> dict[str, Any]:
    return {"gradients": {n: gradients(n) for n in TRAIN}, "metrics": {n: metrics(n) for n in EVALUATE}}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], dict[str, Any]]:
    """By number of processes: gradients and metrics of every task."""
    return cache(lambda world: on_ranks(world, everything, tmp_path_factory.mktemp("ranks") / "found.pt"))


WORLDS = pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.full)])
Shared = Callable[[int], dict[str, Any]]


@WORLDS
@pytest.mark.parametrize("name", TRAIN)
def test_value_gradients(name: str, world: int, shared: Shared) -> None:
    assert worst_difference(*(shared(n)["gradients"][name] for n in (1, world))) <= 1e-8


EXPECTED: dict[str, Callable[[set[str]], bool]] = {
    "pretraining": lambda names: "val/report_reconstruction_loss" in names,
    "exclusive labels": lambda names: "val/accuracy" in names,
    "pretraining with a prior": lambda names: "val/report_reconstruction_loss" in names,
    "retrieval": lambda names: {"val/i2t_r1", "val/t2i_r5"} <= names,
    "linear probe": lambda names: "val/fraction_1/auroc" in names,
    "zero-shot": lambda names: any("auroc" in name for name in names),
    "segmentation": lambda names: {"val/dice", "val/dice_mean_mask"} <= names,
    "frozen segmentation": lambda names: "val/dice" in names,
    "detection": lambda names: {"val/map", "val/objectness_loss"} <= names,
    "grounding": lambda names: {"val/pointing_game", "val/signed_cnr"} <= names,
    "rerank": lambda names: {"val/rerank/i2t_r1", "val/rerank/fused_pairs"} <= names,
}
"""What an evaluation must have logged; without a line, the metric by which the task keeps its best checkpoint."""


def compared(name: str, logged: set[str]) -> bool:
    if name in EXPECTED:
        return EXPECTED[name](logged)
    monitor = EVALUATE[name]().monitor
    assert monitor is not None, f"{name} has no monitor: add a line to EXPECTED in {__file__}, with what it logs"
    return f"val/{monitor.name}" in logged


@WORLDS
@pytest.mark.parametrize("name", EVALUATE)
def test_value_metrics(name: str, world: int, shared: Shared) -> None:
    alone, many = (shared(n)["metrics"][name] for n in (1, world))
    assert compared(name, set(alone)), sorted(alone)
    assert many == pytest.approx(alone, rel=1e-7, abs=1e-9, nan_ok=True)  # torchvision's losses are float32
