"""The command line over every shipped experiment, on one phantom."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from shipped import EXPERIMENTS, SHIPPED, TINY, data_arguments, merged, results, shipped, start, subcommand

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
    "gloria_like",
    "mgca_like",
    "m3ae_like",
    "vqa_rad",
    "slake_en",
    "openi_reports",
    "chexpert_plus",
    "rexgradient",
    "web_shards",
    "questions",
    "path_vqa",
    "pmc_vqa",
    "vqa_med_2019",
    "mimic_cxr_vqa",
    "roco",
    "iu_r2gen",
    "mimic_findings",
)


LARGE = [
    EXPERIMENTS / name
    for name in (
        "pretraining/mpma_vit_b16_mimic_cxr.yaml",
        "pretraining/corpora.yaml",
        "report_generation/pairs.yaml",
        "retrieval/pairs.yaml",
    )
]
"""Of as many layers as they say in the full suite, of one layer in the other."""


@pytest.mark.full
@pytest.mark.parametrize("path", shipped(LARGE, ()))
def test_every_layer_is_built(path: Path, phantom: Path, pairs: Path, tmp_path: Path) -> None:
    start(path, phantom, pairs, tmp_path, "--trainer.max_steps", "0")
    assert (tmp_path / "config.yaml").is_file()


@pytest.mark.parametrize("path", shipped(SHIPPED, PAPER_SCALE))
def test_every_experiment_is_built(
    path: Path, phantom: Path, pairs: Path, trained: tuple[Path, list[str]], tmp_path: Path
) -> None:
    weights = ["--model.checkpoint", str(trained[0])] if "checkpoint: runs/" in path.read_text() else []
    weights += TINY if path in LARGE else []
    start(path, phantom, pairs, tmp_path, "--trainer.max_steps", "0", *weights)
    written = "config.yaml" if subcommand(path) == "fit" else f"{subcommand(path)}.yaml"
    assert (tmp_path / written).is_file()


def test_smoke_chexpert_5x200_as_its_experiment_says(
    phantom: Path, pairs: Path, trained: tuple[Path, list[str]], tmp_path: Path
) -> None:
    path = EXPERIMENTS / "zero_shot" / "chexpert_5x200.yaml"
    start(path, phantom, pairs, tmp_path, "--model.checkpoint", str(trained[0]))
    row = results(tmp_path)
    assert row["protocol"] == "zs-5x200" and 0 <= row["metrics"]["test/combined/accuracy"] <= 1


def test_value_no_experiment_selects_what_predicting_nothing_wins() -> None:
    assert not [path for path in SHIPPED if "monitor: dice\n" in path.read_text() or "val/dice," in path.read_text()]


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


def settings_of(value: Any, place: str = "") -> dict[str, str]:
    """Every single value of merged settings by its dotted place."""
    if not isinstance(value, dict):
        return {place: repr(value)}
    return {key: leaf for name, inner in value.items() for key, leaf in settings_of(inner, f"{place}.{name}").items()}


def near_copies(experiments: dict[Path, dict[str, Any]]) -> list[str]:
    """Pairs of one folder and subcommand whose merged settings differ in at most one value."""
    leaves = {path: settings_of(settings).items() for path, settings in experiments.items()}
    return [
        f"{a} and {b}"
        for a, b in combinations(leaves, 2)
        if a.parent == b.parent and len({place for place, _ in leaves[a] ^ leaves[b]}) <= 1
    ]


def test_value_no_experiment_is_a_near_copy_of_another() -> None:
    """One value more is an argument of the command line, or a row of ``experiments/sweeps/variants.yaml``."""
    one = {"model": {"class_path": "A", "init_args": {"x": 1}}, "data": {"class_path": "B"}}
    other, far = (one | {"model": {"class_path": c, "init_args": {"x": 2}}} for c in "AC")
    a, b, c = (Path("f", name) for name in "abc")
    assert near_copies({a: one, b: other}) == ["f/a and f/b"] and not near_copies({a: one, c: far})
    assert near_copies({a: one, b: one}) and not near_copies({a: one, Path("g", "b"): other})
    assert near_copies({path: merged(path) for path in SHIPPED}) == []


def test_error_data_that_the_tests_do_not_know(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("# fit\nmodel: {class_path: PretrainingTask}\ndata: {class_path: MineDataModule, init_args: {}}\n")
    with pytest.raises(pytest.fail.Exception, match=r"no phantom for MineDataModule: add .*tests/experiments/shipped"):
        data_arguments(path, tmp_path, tmp_path)


def test_value_every_variant_has_settings_of_its_own() -> None:
    assert VARIANTS and all(own for _, own in VARIANTS.values())
