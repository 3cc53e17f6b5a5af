"""Shipped experiments of a published protocol have the constants of the published code, which are written out here."""

from functools import lru_cache
from typing import Any

import pytest
from shipped import EXPERIMENTS, ROOT, subcommand

from mpma_lightning.cli.training import CommandReader
from mpma_lightning.protocols import PROTOCOLS

MRM_CROPS = {"crop_scale": (0.08, 1.0), "flip": True, "rotate": 0, "brightness": 0, "contrast": 0, "fit": "crop"}
"""torchvision's RandomResizedCrop and RandomHorizontalFlip: MRM NIH_ChestX-ray/utils/data_utils.py, BenchX
unifier/datasets/transforms.py NIHTransforms."""
NOTHING = {"crop_scale": None, "flip": False, "rotate": 0, "brightness": 0, "contrast": 0}
BENCHX_SGD = {"algorithm": "sgd", "momentum": 0.9, "weight_decay": 0, "warmup": 50, "steps": 3000, "decay": "cosine"}
BENCHX_LOOP = {"max_epochs": 200, "check_val_every_n_epoch": 5, "gradient_clip_val": 1.0}
MRM_SGD = {"algorithm": "sgd", "momentum": 0.9, "weight_decay": 0, "decay": "cosine", "min_lr": 0.0}
M3AE_ADAMW = {"algorithm": "adamw", "lr": 5e-6, "betas": (0.9, 0.98), "weight_decay": 0.01, "warmup": 0.1,
              "decay": "linear", "min_lr": 0.0}  # fmt: skip
"""m3ae/config.py and set_schedule of m3ae/modules/m3ae_utils.py."""
MGCA_ADAMW = {"algorithm": "adamw", "lr": 5e-4, "betas": (0.9, 0.999), "warmup": 0, "min_lr": 1.0}
"""ssl_segmenter.py, ssl_detector.py: no schedule; run_seg_finetune.sh, run_det_finetune.sh: the rate."""

PUBLISHED: dict[str, dict[str, Any]] = {
    # BenchX configs/classification/*/mrm.yml, its configuration of a ViT-B whose patches are averaged
    "classification/nih_chestxray14_benchx": {
        "trainer": BENCHX_LOOP,
        "optim": BENCHX_SGD | {"lr": 3e-2},
        "augment": MRM_CROPS,
        "data": {"batch_size": 64, "split": "70/10/20"},
        "stop": {"monitor": "val/auroc", "mode": "max", "patience": 10},
    },
    "classification/rsna_pneumonia_benchx": {
        "trainer": BENCHX_LOOP,
        "optim": BENCHX_SGD | {"lr": 1e-2},
        "augment": MRM_CROPS,
        "data": {"batch_size": 32, "split": "70/15/15"},
        "model": {"monitor": "f1"},
        "stop": {"monitor": "val/f1", "mode": "max", "patience": 10},
    },
    "classification/siim_pneumothorax_benchx": {
        "trainer": BENCHX_LOOP,
        "optim": BENCHX_SGD | {"lr": 1e-2},
        "augment": MRM_CROPS,
        "data": {"batch_size": 64, "balanced": False},
        "model": {"monitor": "f1"},
        "stop": {"monitor": "val/f1", "mode": "max", "patience": 10},
    },
    "classification/covidx_benchx": {
        "trainer": BENCHX_LOOP,
        "optim": BENCHX_SGD | {"algorithm": "adam", "lr": 5e-4, "betas": (0.9, 0.999)},
        "augment": MRM_CROPS,
        "data": {"batch_size": 64, "version": "CXR-4"},
        "model": {"monitor": "f1"},
        "stop": {"monitor": "val/f1", "mode": "max", "patience": 10},
    },
    # MRM NIH_ChestX-ray/finetuning_100percent.sh and train.py; CheXpert and RSNA: its paper
    "classification/nih_chestxray14_mrm": {
        "trainer": {"max_steps": 200_000, "check_val_every_n_epoch": 1, "gradient_clip_val": 1.0},
        "optim": MRM_SGD | {"lr": 3e-3, "warmup": 5000},
        "augment": MRM_CROPS,
        "data": {"batch_size": 96, "split": "70/10/20"},
    },
    "classification/chexpert_mrm": {
        "trainer": {"max_steps": 200_000, "check_val_every_n_epoch": 1, "gradient_clip_val": 1.0},
        "optim": MRM_SGD | {"lr": 5e-4, "warmup": 15_000},
        "augment": MRM_CROPS,
        "data": {"batch_size": 96},
    },
    "classification/rsna_pneumonia_mrm": {
        "trainer": {"max_steps": 50_000, "check_val_every_n_epoch": 1, "gradient_clip_val": 1.0},
        "optim": MRM_SGD | {"lr": 5e-4, "warmup": 2000},
        "augment": MRM_CROPS,
        "data": {"batch_size": 96},
    },
    # MGCA mgca_segmenter.py, ssl_segmenter.py, segmentation_dataset.py
    "segmentation/siim_frozen_mgca": {
        "trainer": {"max_epochs": 50, "gradient_clip_val": None},
        "optim": MGCA_ADAMW | {"weight_decay": 0.05},
        "augment": NOTHING | {"fit": "stretch", "rotate": 10, "zoom": 0.1, "chance": 0.5, "outside": "black"},
        "data": {"batch_size": 8},
        "model": {"monitor": "loss"},
        "stop": {"monitor": "val/loss", "mode": "min", "patience": 10},
    },
    # MGCA mgca_detector.py, ssl_detector.py, detection_dataset.py; the detector is another, so is the id
    "detection/rsna_frozen": {
        "trainer": {"max_epochs": 50, "gradient_clip_val": None},
        "optim": MGCA_ADAMW | {"weight_decay": 1e-6},
        "augment": NOTHING | {"fit": "stretch"},
        "data": {"batch_size": 16, "image_size": 224},
        "stop": {"mode": "max", "patience": 10},
    },
    # M3AE run_scripts/finetune_m3ae.sh, task_finetune_vqa_vqa_rad and _slack, transforms/transform.py
    "vqa/vqa_rad": {
        "trainer": {"max_epochs": 50, "gradient_clip_val": None, "accumulate_grad_batches": 4},
        "optim": M3AE_ADAMW,
        "scale": {"head": 50, "backbone.fusion": 5},
        "augment": NOTHING | {"fit": "crop"},
        "data": {"batch_size": 16, "image_size": 384},
        "text": {"max_tokens": 32},
    },
    "vqa/slake_en": {
        "trainer": {"max_epochs": 15, "gradient_clip_val": None, "accumulate_grad_batches": 2},
        "optim": M3AE_ADAMW,
        "scale": {"head": 50, "backbone.fusion": 5},
        "augment": NOTHING | {"crop_scale": (0.9, 1.0), "fit": "crop"},
        "data": {"batch_size": 16, "image_size": 384},
        "text": {"max_tokens": 32},
    },
    # M3AE task_finetune_irtr_roco
    "retrieval/roco": {
        "trainer": {"max_epochs": 10, "gradient_clip_val": None, "accumulate_grad_batches": 4},
        "optim": M3AE_ADAMW,
        "scale": {"image_text_matching": 5, "backbone.fusion": 5},
        "augment": NOTHING | {"crop_scale": (0.9, 1.0), "fit": "crop"},
        "data": {"batch_size": 64, "image_size": 384, "retrieval_pairs": 2000},
        "text": {"max_tokens": 40},
        "matching": {"negatives": 15},
    },
}
PLACES = {"optim": "model.init_args.optim", "augment": "data.init_args.augment", "data": "data.init_args",
          "text": "data.init_args.text", "model": "model.init_args", "matching": "model.init_args.matching",
          "scale": "model.init_args.optim.scale", "trainer": "trainer"}  # fmt: skip


@lru_cache
def settings(name: str) -> Any:
    path = EXPERIMENTS / f"{name}.yaml"
    reader = CommandReader(subcommand(path) or "")
    words = [reader.name, "--config", str(path), "--model.checkpoint", "null", "--model.backbone", "mpma_vit_t16"]
    return reader.parser.parse_args(words)[reader.name]


@pytest.mark.parametrize(("name", "where"), [(name, where) for name, parts in PUBLISHED.items() for where in parts])
def test_value_of_the_published_code(name: str, where: str) -> None:
    wanted, parsed = PUBLISHED[name][where], settings(name)
    if where == "stop":
        stops = [c.init_args for c in parsed.trainer.callbacks if c.class_path.endswith("EarlyStopping")]
        found = {key: stops[0][key] for key in wanted}
        assert len(stops) == 1
    else:
        part = parsed[PLACES[where]]
        found = {key: (tuple(part[key]) if isinstance(part[key], list) else part[key]) for key in wanted}
    assert found == wanted


def test_value_the_page_of_protocols_lists_every_id() -> None:
    page = (ROOT / "docs" / "protocols.md").read_text()
    rows = [f"| `{name}` | {its.about} | {its.source} |" for name, its in PROTOCOLS.items()]
    assert [line for line in page.splitlines() if line.startswith("| `")] == rows


def test_value_an_experiment_named_after_a_publication_says_that_it_is_like_it() -> None:
    names = {path.stem for path in (EXPERIMENTS / "ablations").glob("*.yaml")}
    assert not names & {"mrm", "mgca", "gloria", "m3ae", "convirt"}
    for path in (EXPERIMENTS / "ablations").glob("*_like.yaml"):
        assert "-like" in path.read_text().splitlines()[0], path
