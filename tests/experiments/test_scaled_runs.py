"""Every shipped experiment on two processes; every task in mixed precision, compiled and with checkpointing."""

import json
from pathlib import Path

import forked
import pytest
from shipped import EXPERIMENTS, SHIPPED, shipped, start, subcommand

TASKS = (
    "pretraining", "classification", "multimodal", "linear_probe", "zero_shot", "segmentation", "detection",
    "grounding", "retrieval", "vqa",
)  # fmt: skip
STEPS = (
    "--trainer.max_steps", "2", "--trainer.limit_val_batches", "6", "--trainer.val_check_interval", "2",
    "--trainer.check_val_every_n_epoch", "null",
)  # fmt: skip
PROBE = ("--trainer.max_epochs", "1", "--model.fractions", "[1.0]", "--model.seeds", "[0]")
NARROW = [f"--model.backbone.{word}" for word in ("text.width=96", "text.heads=3", "text.depth=1", "fusion.heads=3",
          "align.hidden=64", "image.size=64")]  # fmt: skip
VIT = ["--model.backbone.image.options", "{depth: 1, embed_dim: 96, num_heads: 3}"]
PATIENCE = 1800


def settings(path: Path, weights: Path) -> list[str]:
    """Two steps, small networks, the demo's weights where an experiment starts from them."""
    text, more = path.read_text(), []
    if "checkpoint: runs/" in text:
        more += ["--model.checkpoint", str(weights)]
    elif "name: mpma_vit" in text or "backbone: mpma_vit" in text:
        more += [
            *NARROW,
            *VIT * ("timm/resnet" not in text),
            *["--data.image_size", "64"] * ("    image_size: " in text),
        ]
    if subcommand(path) == "fit":
        more += PROBE if "LinearProbeTask" in text else STEPS
    return more


@pytest.mark.full
@pytest.mark.parametrize("path", shipped(SHIPPED, ()))
def test_smoke_every_experiment_on_two_processes(
    path: Path,
    phantom: Path,
    pairs: Path,
    trained: tuple[Path, list[str]],
    tmp_path: Path,
) -> None:
    more = [*settings(path, trained[0]), "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    if "label_fraction: 0.01" in path.read_text():  # two films of the small phantom
        more += ["--data.batch_size", "1"]

    def work() -> int:
        start(path, phantom, pairs, tmp_path, *more)
        return 0

    assert forked.end(forked.start(2, work), PATIENCE) == [0, 0]
    if subcommand(path) == "fit":
        row = json.loads((tmp_path / "results.json").read_text())
        assert row["cost"]["devices"] == 2 and row["cost"]["samples_per_second"] > 0


@pytest.mark.full
@pytest.mark.parametrize(
    "more",
    [
        ("--trainer.precision", "bf16-mixed"),
        ("--efficiency.gradient_checkpointing", "true"),
        ("--efficiency.compile", "true"),
        ("--efficiency.compile", "true", "--efficiency.gradient_checkpointing", "true"),
    ],
    ids=["bf16", "checkpointing", "compiled", "both"],
)
@pytest.mark.parametrize("name", TASKS)
def test_smoke_every_task(
    name: str,
    more: tuple[str, ...],
    phantom: Path,
    pairs: Path,
    trained: tuple[Path, list[str]],
    tmp_path: Path,
) -> None:
    path = EXPERIMENTS / "demo" / f"{name}.yaml"
    if subcommand(path) != "fit" and "--efficiency" in more[0]:
        pytest.skip("what makes training faster is there in fit only")
    start(path, phantom, pairs, tmp_path, *settings(path, trained[0]), *more)
    (row,) = (json.loads(file.read_text()) for file in tmp_path.glob("results*.json"))
    assert row["metrics"] and all(value == value for name, value in row["metrics"].items() if "loss" in name)
