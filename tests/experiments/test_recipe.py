"""One recipe: the demo's pre-training and the ones at paper scale have the same keys; size, length and batch differ."""

from pathlib import Path
from typing import Any

import pytest
from shipped import EXPERIMENTS, merged

from mpma_lightning.cli.main import main

DEMO = EXPERIMENTS / "demo" / "pretraining.yaml"
LARGE = [EXPERIMENTS / "pretraining" / f"mpma_vit_{size}16_mimic_cxr.yaml" for size in "bs"]
OF_THE_MACHINE = ("trainer.",)
"""Precision, devices, steps or epochs, and how often to validate and to save."""
SIZE = (
    "model.init_args.backbone.name",
    *(f"model.init_args.objectives.image_reconstruction.{name}" for name in ("depth", "width", "heads")),
)
LENGTH_AND_BATCH = (
    *(f"model.init_args.optim.{name}" for name in ("lr", "reference_batch", "warmup")),
    "data.init_args.batch_size",
)
OF_THE_DATA = (
    *(f"data.init_args.{name}" for name in ("image_root", "report_root", "num_workers")),
    *(f"data.init_args.text.{name}" for name in ("max_tokens", "vocab_size", "min_count")),
)


def leaves(value: Any, place: str = "") -> dict[str, Any]:
    """Every single value of merged settings by its dotted place."""
    if not isinstance(value, dict):
        return {place: value}
    return {
        key: leaf
        for name, inner in value.items()
        for key, leaf in leaves(inner, f"{place}.{name}".removeprefix(".")).items()
    }


def recipe(path: Path) -> dict[str, Any]:
    """What is not of a machine, a size, a length, a batch or a data set."""
    free = (*OF_THE_MACHINE, *SIZE, *LENGTH_AND_BATCH, *OF_THE_DATA)
    return {key: value for key, value in leaves(merged(path)).items() if not key.startswith(free)}


@pytest.mark.parametrize("path", LARGE, ids=lambda path: path.stem)
def test_value_demo_and_large_recipe_have_the_same_keys(path: Path) -> None:
    demo, large = (leaves(merged(one)) for one in (DEMO, path))
    freely = (*OF_THE_MACHINE, *OF_THE_DATA)
    assert {k for k in demo if not k.startswith(freely)} == {k for k in large if not k.startswith(freely)}
    assert recipe(path) == recipe(DEMO)
    assert {"model.init_args.masking.pairing", "model.init_args.objectives.local_alignment.weight"} <= set(recipe(DEMO))
    for key in SIZE:
        assert demo[key] != large[key] or key.endswith("heads")


@pytest.mark.parametrize("path", LARGE, ids=lambda path: path.stem)
def test_value_large_recipes_save_every_2000_steps(path: Path) -> None:
    callbacks = merged(path)["trainer"]["callbacks"]
    saving = next(each["init_args"] for each in callbacks if each["class_path"] == "ModelCheckpoint")
    usual = merged(EXPERIMENTS / "defaults.yaml")["trainer"]["callbacks"][0]["init_args"]
    assert saving == usual | {"every_n_train_steps": 2000}


def test_value_published_weights_after_the_large_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    overlay = EXPERIMENTS / "pretraining" / "published_weights.yaml"
    words = ["--config", str(LARGE[0]), "--config", str(overlay)]
    assert main(["fit", *words, "--print_config"]) == 0
    shown = capsys.readouterr().out
    assert "encoder: timm/vit_base_patch16_224.mae" in shown and "weights: hub" in shown
    assert "encoder: hf/google-bert/bert-base-uncased" in shown and "backbone.image: 0.2" in shown
