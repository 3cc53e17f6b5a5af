"""The command line over every shipped experiment, on one phantom."""

import json
from pathlib import Path

import pytest
from shipped import SHIPPED, shipped, start, subcommand

LACKING = ("mae", "mlm", "alignment")
PAPER_SCALE = (
    "mpma_vit_s16_mimic_cxr",
    "gloria",
    "mgca",
    "m3ae",
    "vqa_rad",
    "vqa_rad_disjoint",
    "vqa_rad_legacy",
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
@pytest.mark.parametrize("path", shipped([p for p in SHIPPED if p.parent.name == "ablations"], ()))
def test_every_ablation_takes_steps(path: Path, phantom: Path, pairs: Path, tmp_path: Path) -> None:
    """Two steps, the first with the check that every loss reaches the encoders it should train; rows that lack a part
    also validate."""
    validation = ["--trainer.val_check_interval", "2"] if path.stem in LACKING else ["--trainer.limit_val_batches", "0"]
    start(
        path,
        phantom,
        pairs,
        tmp_path,
        "--trainer.max_steps",
        "2",
        "--trainer.enable_checkpointing",
        "false",
        *validation,
    )
    row = json.loads((tmp_path / "results.json").read_text())
    assert row["steps"] == 2 and row["metrics"]["train/loss"] > 0
