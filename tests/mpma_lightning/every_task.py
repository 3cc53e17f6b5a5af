"""Every task with a small backbone, in memory, and the samples it trains and is evaluated on."""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from memory_data import MemoryData
from model_fixtures import DECODER
from own_task import AgeTask
from torch import nn

from data_modules.contract import FURTHER_VIEWS, DataSpec
from data_modules.text.tokenizer import Tokenizer
from mpma_lightning import distributed
from mpma_lightning.backbones import BackboneSpec, ImageSpec, TextSpec
from mpma_lightning.heads.causal_decoder import CausalOptions
from mpma_lightning.objectives import Objectives
from mpma_lightning.objectives.image_reconstruction import ImageReconstructionOptions
from mpma_lightning.objectives.local_alignment import LocalAlignmentOptions
from mpma_lightning.objectives.match_ranking import MatchRankingOptions
from mpma_lightning.tasks.base import Task
from mpma_lightning.tasks.classification import ClassificationTask
from mpma_lightning.tasks.detection import DetectionTask
from mpma_lightning.tasks.grounding import GroundingTask
from mpma_lightning.tasks.linear_probe import LinearProbeTask
from mpma_lightning.tasks.pretraining import PretrainingTask
from mpma_lightning.tasks.progression import STATES, ProgressionTask
from mpma_lightning.tasks.report_generation import ReportGenerationTask
from mpma_lightning.tasks.retrieval import RetrievalTask
from mpma_lightning.tasks.segmentation import SegmentationTask
from mpma_lightning.tasks.vqa import VQATask
from mpma_lightning.tasks.zero_shot import ZeroShotTask

PAIR = LocalAlignmentOptions(weight=0.25, negatives="pair")
"""Negatives of the pair, so that the loss does not depend on how many processes share a batch."""

SAMPLES = 13
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
    "pretraining with a prior": partial(PretrainingTask, backbone=SPEC, objectives=OBJECTIVES, target_scale=1),
    "progression": partial(ProgressionTask, backbone=SPEC),
    "labels with a prior": partial(ClassificationTask, backbone=SPEC, input="both", protocol="cls-multimodal"),
    "retrieval": partial(RetrievalTask, backbone=SPEC),
    "vqa": partial(VQATask, backbone=SPEC),
    "segmentation": partial(SegmentationTask, backbone=SPEC, head_width=8),
    "frozen segmentation": partial(SegmentationTask, backbone=SPEC, protocol="seg-frozen-mgca"),
    "detection": partial(DetectionTask, backbone=SPEC, head_width=8),
    "reports": partial(ReportGenerationTask, backbone=SPEC, decoder="unmask", evidence=PAIR),
    "causal reports": partial(ReportGenerationTask, backbone=SPEC, causal=CausalOptions(depth=2), evidence=PAIR),
    "number": partial(AgeTask, backbone=SPEC),
}
EVALUATE = TRAIN | {
    "linear probe": partial(LinearProbeTask, backbone=SPEC, fractions=[1.0], seeds=[0, 1]),
    "zero-shot": partial(ZeroShotTask, backbone=SPEC),
    "grounding": partial(GroundingTask, backbone=SPEC),
    "rerank": partial(
        RetrievalTask, backbone=SPEC, scorer="rerank", matching=MatchRankingOptions(weight=1), shortlist=4
    ),
}


def data(exclusive: bool, views: Sequence[str] = ()) -> tuple[MemoryData, dict[str, Any]]:
    """A data module as tasks see it, and its samples as one batch; every other sample has the further ``views``."""
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice(WORDS, size=4 + i % 5)) for i in range(SAMPLES)]
    tokenizer = Tokenizer.train(texts, 200, 1)
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
        "target": torch.tensor([torch.nan, *(30.0 + i for i in range(1, SAMPLES))]),
        "contrasted": [i % 2 == 0 for i in range(SAMPLES)],
    }
    spec = DataSpec(
        name="Toy",
        tokenizer=tokenizer.to_json(),
        channels=1,
        classes=CLASSES,
        exclusive=exclusive,
        train_positives={name: int((labels[:, k] == 1).sum()) for k, name in enumerate(CLASSES)},
        counts={"train": SAMPLES, "val": SAMPLES, "test": SAMPLES},
        label_fraction=1.0,
        answers=["yes", "no"],
        majority_answers={"CLOSED": "yes", "OPEN": "no"},
        mask_class="Pneumothorax",
        box_classes=["Pneumonia"],
        image_size=32,
        fit="stretch",
        passed_on={"target": "float"},
        views=list(views),
    )
    if views:
        kinds = torch.tensor([[1 + FURTHER_VIEWS.index(view) for view in views]] * SAMPLES)
        batch["view_kinds"] = kinds * (torch.arange(SAMPLES) % 2).unsqueeze(1)
        shape = (SAMPLES, len(views), 1, 32, 32)
        batch["views"] = torch.from_numpy(draw.integers(0, 255, shape, dtype=np.uint8))
    frame = pd.DataFrame({"id": ids, "study": ids, "split": "train", "target": batch["target"].numpy(), "text": texts})
    return MemoryData(spec, frame), batch


def build(name: str, views: Sequence[str] = ()) -> tuple[Task, dict[str, Any], SimpleNamespace, dict[str, float]]:
    """The task in float64, the samples, its trainer and what it will log."""
    views = ["prior"] if name.endswith(("with a prior", "progression")) else views
    kind = torch.float32 if name == "rerank" else torch.float64  # which keeps the tokens of all pairs in half precision
    torch.set_default_dtype(kind)
    torch.manual_seed(0)
    module, batch = data(name in ("exclusive labels", "progression"), views)
    if name == "progression":
        module.spec.classes = [f"Edema {state}" for state in STATES]
    trainer = SimpleNamespace(
        datamodule=module,
        log_every_n_steps=1,
        global_step=0,
        state=SimpleNamespace(fn="validate" if name in ("rerank", "zero-shot") else "fit"),
        sanity_checking=False,
        testing=False,
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
