"""``parts/efficient.yaml`` after an experiment of pre-training: what it changes, and that it trains."""

from pathlib import Path

import pytest
from shipped import EXPERIMENTS, results
from test_recipe import DEMO, LARGE, leaves

from mpma_lightning.cli.main import main
from mpma_lightning.cli.training import CommandReader

OVERLAY = EXPERIMENTS / "parts" / "efficient.yaml"
CHANGES = {
    "trainer.precision": "auto",
    "model.init_args.objectives.image_reconstruction.kind": "cross",
    "data.init_args.text.length_window": 32,
    "efficiency.compile": True,
}


@pytest.mark.parametrize("path", [DEMO, LARGE[0]], ids=lambda path: path.stem)
def test_value_what_it_changes(path: Path) -> None:
    read = CommandReader("fit").settings
    plain, efficient = (
        leaves(read(["fit", "--config", str(path), *more])) for more in ([], ["--config", str(OVERLAY)])
    )
    changed = {key: value for key, value in efficient.items() if plain.get(key, ...) != value}
    assert {key: value for key, value in changed.items() if key != "config"} == CHANGES
    assert efficient["model.init_args.objectives.image_reconstruction.share"] == pytest.approx(1 / 3)


@pytest.mark.full
def test_fit_with_it(trained: tuple[Path, list[str]], tmp_path: Path) -> None:
    """Four steps of the demo; compilation with a backend that needs no compiler."""
    _, arguments = trained
    words = [*arguments, "--config", str(OVERLAY), "--efficiency.compile_backend", "aot_eager"]
    steps = ["--trainer.max_steps", "4", "--trainer.val_check_interval", "2", "--model.check_every", "2"]
    assert main(["fit", *words, *steps, "--trainer.default_root_dir", str(tmp_path)]) == 0
    row = results(tmp_path, "results.json")
    assert row["steps"] == 4 and row["precision"] in ("bf16-mixed", "32-true")
    for name in ("image_reconstruction", "report_reconstruction", "global_alignment", "local_alignment"):
        assert 0 < row["metrics"][f"val/{name}_loss"] < 20
