"""Every task: the gradients and the metrics of several processes are those of one, uneven last batches included."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from memory_data import MemoryData
from process_group import averaged, on_ranks, worst_difference
from test_switches import DECODER
from torch import nn

from data_modules.contract import DataSpec
from data_modules.loading.batch_sampler import ShardedBatchSampler
from data_modules.text.tokenizer import Tokenizer
from mpma_lightning import distributed
from mpma_lightning.backbones import BackboneSpec, ImageSpec, TextSpec
from mpma_lightning.objectives import Objectives
from mpma_lightning.objectives.image_reconstruction import ImageReconstructionOptions
from mpma_lightning.objectives.local_alignment import LocalAlignmentOptions
from mpma_lightning.objectives.match_ranking import MatchRankingOptions
from mpma_lightning.tasks.base import Task
from mpma_lightning.tasks.classification import ClassificationTask
from mpma_lightning.tasks.dense import DenseTask
from mpma_lightning.tasks.detection import DetectionTask
from mpma_lightning.tasks.grounding import GroundingTask
from mpma_lightning.tasks.linear_probe import LinearProbeTask
from mpma_lightning.tasks.pretraining import PretrainingTask
from mpma_lightning.tasks.retrieval import RetrievalTask
from mpma_lightning.tasks.segmentation import SegmentationTask
from mpma_lightning.tasks.vqa import VQATask
from mpma_lightning.tasks.zero_shot import ZeroShotTask

SAMPLES, TRAINED = 13, 8
CLASSES = ["Atelectasis", "Cardiomegaly", "Edema"]
WORDS = ["heart", "lungs", "clear", "large", "small", "left", "right", "effusion", "edema", "no"]
SPEC = BackboneSpec("mpma_vit_t16", ImageSpec(size=32, options={"depth": 4}), TextSpec(depth=1, dropout=0.0))
OBJECTIVES = Objectives(
    image_reconstruction=ImageReconstructionOptions(**DECODER), local_alignment=LocalAlignmentOptions(negatives="pair")
)
TRAIN = {
    "pretraining": partial(PretrainingTask, backbone=SPEC, objectives=OBJECTIVES, target_scale=1),
    "image labels": partial(ClassificationTask, backbone=SPEC),
    "text labels": partial(ClassificationTask, backbone=SPEC, input="text", protocol="cls-multimodal"),
    "labels of both": partial(ClassificationTask, backbone=SPEC, input="both", protocol="cls-multimodal"),
    "exclusive labels": partial(ClassificationTask, backbone=SPEC),
    "retrieval": partial(RetrievalTask, backbone=SPEC),
    "vqa": partial(VQATask, backbone=SPEC),
    "segmentation": partial(SegmentationTask, backbone=SPEC, head_width=8),
    "frozen segmentation": partial(SegmentationTask, backbone=SPEC, protocol="seg-frozen-mgca"),
    "detection": partial(DetectionTask, backbone=SPEC, head_width=8),
}
EVALUATE = TRAIN | {
    "linear probe": partial(LinearProbeTask, backbone=SPEC, fractions=[1.0], seeds=[0, 1]),
    "zero-shot": partial(ZeroShotTask, backbone=SPEC),
    "grounding": partial(GroundingTask, backbone=SPEC),
    "rerank": partial(
        RetrievalTask, backbone=SPEC, scorer="rerank", matching=MatchRankingOptions(weight=1), shortlist=4
    ),
}
LOSSES = ("contrast_loss", "global_alignment_loss", "mask_loss")
"""Of the batch as a whole: negatives, Dice. In evaluation no step waits for other ranks, so that is a rank's batch."""
OF_THE_LOCAL_BATCH = (*LOSSES, "in_batch_retrieval", "matching_", "local_gap", "_alpha")
"""α of rerank is chosen among equal ones by what half precision leaves of the tokens."""


def data(exclusive: bool) -> tuple[MemoryData, dict[str, Any]]:
    """A data module as tasks see it, and its samples as one batch."""
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice(WORDS, size=4 + i % 5)) for i in range(SAMPLES)]
    tokenizer = Tokenizer.train(texts, 200)
    encoded = [tokenizer.encode(text, 16) for text in texts]
    labels = np.eye(3)[draw.permutation(SAMPLES) % 3] if exclusive else draw.integers(0, 2, (SAMPLES, 3)).astype(float)
    if not exclusive:
        labels[0, :2] = labels[5, 1] = np.nan  # ranks count different numbers of known labels
    answers = draw.choice(["yes", "no", "left lung"], size=SAMPLES).tolist()
    ids = [f"film {i:02}" for i in range(SAMPLES)]
    batch = {name: torch.tensor([e[i] for e in encoded]) for i, name in enumerate(("input_ids", "attention_mask"))}
    batch |= {
        "word_ids": torch.tensor([e[2] for e in encoded]),
        "image": torch.from_numpy(draw.integers(0, 255, (SAMPLES, 1, 32, 32), dtype=np.uint8)),
        "group": torch.tensor([0, 1, 2, 3, 0, 5, 6, 7, 8, 5, 10, 11, 12]),
        "seed": torch.arange(SAMPLES),
        "labels": torch.tensor(labels),
        "mask": torch.from_numpy(draw.integers(0, 2, (SAMPLES, 1, 32, 32), dtype=np.uint8)),
        "boxes": [torch.tensor([[2.0, 3.0, 14.0 + i, 20.0]] * (i % 3)).reshape(-1, 4) for i in range(SAMPLES)],
        "box_labels": [torch.zeros(i % 3, dtype=torch.int64) for i in range(SAMPLES)],
        "size": torch.tensor([[32, 32]] * SAMPLES),
        "id": ids,
        "patient": ids,
        "text": texts,
        "answer": answers,
        "answer_type": ["OPEN" if answer == "left lung" else "CLOSED" for answer in answers],
        "question_type": ["POS"] * SAMPLES,
        "contrasted": [i % 2 == 0 for i in range(SAMPLES)],
    }
    spec = DataSpec(
        name="Toy",
        tokenizer=tokenizer.to_json(),
        channels=1,
        classes=CLASSES,
        exclusive=exclusive,
        train_positives={},
        counts={"train": SAMPLES, "val": SAMPLES, "test": SAMPLES},
        label_fraction=1.0,
        answers=["yes", "no"],
        majority_answers={"CLOSED": "yes", "OPEN": "no"},
        mask_class="Pneumothorax",
        box_classes=["Pneumonia"],
        image_size=32,
        fit="stretch",
    )
    return MemoryData(spec, pd.DataFrame({"id": ids, "study": ids})), batch


def build(name: str) -> tuple[Task, dict[str, Any], SimpleNamespace, dict[str, float]]:
    """The task in float64, the samples, its trainer and what it will log."""
    kind = torch.float32 if name == "rerank" else torch.float64  # which keeps the tokens of all pairs in half precision
    torch.set_default_dtype(kind)
    torch.manual_seed(0)
    module, batch = data(exclusive=name == "exclusive labels")
    trainer = SimpleNamespace(
        datamodule=module,
        log_every_n_steps=1,
        global_step=0,
        state=SimpleNamespace(fn="validate" if name in ("rerank", "zero-shot") else "fit"),
        sanity_checking=False,
        is_global_zero=distributed.rank() == 0,
        precision_plugin=SimpleNamespace(forward_context=nullcontext),
    )
    task = EVALUATE[name]()
    task.trainer = trainer  # type: ignore[assignment]
    task.configure_model()
    logged: dict[str, float] = {}
    task.log = lambda key, value, **_: logged.update({key: float(value)})  # type: ignore[method-assign, assignment]
    task.log_dict = lambda values, **_: logged.update({k: float(v) for k, v in values.items()})  # type: ignore[method-assign]
    if isinstance(task, RetrievalTask):
        task.trained = True
    if isinstance(task, DetectionTask):  # every anchor and proposal, so that none is drawn
        for part in (task.head.rpn, task.head.roi_heads):
            part.fg_bg_sampler.sampler.batch_size_per_image = 1_000_000
    for layer in task.modules():  # batch normalisation sees the batch of a process, or with SyncBN needs a GPU
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
    return task.to(kind), batch, trainer, logged


def rows(batch: dict[str, Any], places: list[int]) -> dict[str, Any]:
    return {k: v[places] if isinstance(v, torch.Tensor) else [v[i] for i in places] for k, v in batch.items()}


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
    skipped = (*OF_THE_LOCAL_BATCH, "val/loss") if any("val/" + key in logged for key in LOSSES) else OF_THE_LOCAL_BATCH
    return {key: value for key, value in logged.items() if not any(part in key for part in skipped)}


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
    "image labels": lambda names: "val/auroc" in names,
    "text labels": lambda names: "val/auroc" in names,
    "labels of both": lambda names: "val/auroc" in names,
    "exclusive labels": lambda names: "val/accuracy" in names,
    "retrieval": lambda names: {"val/i2t_r1", "val/t2i_r5"} <= names,
    "vqa": lambda names: any("accuracy" in name for name in names),
    "linear probe": lambda names: "val/fraction_1/auroc" in names,
    "zero-shot": lambda names: any("auroc" in name for name in names),
    "segmentation": lambda names: {"val/dice", "val/dice_mean_mask"} <= names,
    "frozen segmentation": lambda names: "val/dice" in names,
    "detection": lambda names: {"val/map", "val/objectness_loss"} <= names,
    "grounding": lambda names: {"val/pointing_game", "val/cnr"} <= names,
    "rerank": lambda names: {"val/rerank/i2t_r1", "val/rerank/fused_pairs"} <= names,
}


@WORLDS
@pytest.mark.parametrize("name", EVALUATE)
def test_value_metrics(name: str, world: int, shared: Shared) -> None:
    alone, many = (shared(n)["metrics"][name] for n in (1, world))
    assert EXPECTED[name](set(alone)), sorted(alone)
    assert many == pytest.approx(alone, rel=1e-7, abs=1e-9, nan_ok=True)  # torchvision's losses are float32
