"""The command line over every shipped experiment, on one phantom."""

import json
from pathlib import Path

import pytest
from shipped import EXPERIMENTS, SHIPPED, shipped, start, subcommand

from mpma_lightning.lab.sweeps.plan import read_sweep

LACKING = ("mae", "mlm", "alignment")
ABLATIONS = {path.stem: (path, ()) for path in SHIPPED if path.parent.name == "ablations"}
VARIANTS = {
    trial.method: (Path(trial.steps[0].words[2]), trial.steps[0].words[9:])
    for trial in read_sweep(EXPERIMENTS / "sweeps" / "variants.yaml").trials
}
"""Of each row its experiment and the settings that make it another."""
PAPER_SCALE = (
    "mpma_vit_s16_mimic_cxr",
    "gloria",
    "mgca",
    "m3ae",
    "vqa_rad",
    "slake_en",
    "roco",
)


@pytest.mark.parametrize("path", shipped(SHIPPED, PAPER_SCALE))
def test_every_experiment_is_built(
    path: Path, phantom: Path, pairs: Path, trained: tuple[Path, list[str]], tmp_path: Path
) -> None:
    weights = ["--model.checkpoint", str(trained[0])] if "checkpoint: runs/" in path.read_text() else []
    start(path, phantom, pairs, tmp_path, "--trainer.max_steps", "0", *weights)
    written = "config.yaml" if subcommand(path) == "fit" else f"{subcommand(path)}.yaml"
    assert (tmp_path / written).is_file()


def test_value_no_experiment_selects_what_predicting_nothing_wins() -> None:
    assert not [path for path in SHIPPED if "monitor: val/dice," in path.read_text()]


@pytest.mark.full
@pytest.mark.parametrize("name", [*ABLATIONS, *VARIANTS])
def test_every_ablation_takes_steps(name: str, phantom: Path, pairs: Path, tmp_path: Path) -> None:
    """Two steps, the first with the check that every loss reaches the encoders it should train; rows that lack a part
    also validate."""
    path, own = (ABLATIONS | VARIANTS)[name]
    validation = ["--trainer.val_check_interval", "2"] if name in LACKING else ["--trainer.limit_val_batches", "0"]
    steps = ["--trainer.max_steps", "2", "--trainer.enable_checkpointing", "false"]
    start(path, phantom, pairs, tmp_path, *own, *steps, *validation)
    row = json.loads((tmp_path / "results.json").read_text())
    assert row["steps"] == 2 and row["metrics"]["train/loss"] > 0


def test_value_what_was_a_file_is_one_command() -> None:
    """Few files, none the copy of another but for a value."""
    assert len(list(EXPERIMENTS.rglob("*.yaml"))) <= 65
    assert len(VARIANTS) == 30 and all(own for _, own in VARIANTS.values())
