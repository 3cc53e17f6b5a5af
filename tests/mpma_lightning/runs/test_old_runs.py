"""Runs of the version before: flat keys of the backbone, no sizes, no seal, fewer arguments."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from demo_run import demo_arguments

from data_modules.phantom import write_phantom
from mpma_lightning.backbones.checkpoint import CARGO
from mpma_lightning.backbones.flat_spec import NEW_NAMES
from mpma_lightning.cli.main import main

BEFORE = ("--data.text.vocab_size", "8192", "--model.backbone.align.local_level=-1")
"""What the version before did where the old record names nothing, and the defaults are others by now."""
SHORT = ("--trainer.limit_val_batches", "0", "--trainer.limit_test_batches", "1", "--trainer.max_steps")


def flat(spec: dict[str, Any]) -> dict[str, Any]:
    """A nested backbone under the names that it had before."""
    found = {"name": spec["name"]}
    for old, new in NEW_NAMES.items():
        part, _, field = new.partition(".")
        found[old] = spec[part][field]
    return found


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom")
    write_phantom(out, patients=20, seed=3, size=64, workers=1)
    return out


@pytest.fixture(scope="module")
def old_files(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    """The record and the last checkpoint of a run, as the version before wrote them."""
    run = tmp_path_factory.mktemp("run")
    assert main(["fit", *demo_arguments(phantom, run, *SHORT, "1")]) == 0
    config = yaml.safe_load((run / "config.yaml").read_text().replace(str(run), "RUN"))
    model, data = (config[name]["init_args"] for name in ("model", "data"))
    model["backbone"] = flat(model["backbone"])
    del data["augment"]["extra"], data["text"]["vocab_size"], model["shuffle_pairs"]
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    content[CARGO]["spec"] = flat(content[CARGO]["spec"])
    del content["callbacks"]["RunRecord"]
    torch.save(content, run / "old.ckpt")  # without a seal
    return yaml.safe_dump(config), (run / "old.ckpt").read_bytes()


@pytest.fixture
def old_run(old_files: tuple[str, bytes], tmp_path: Path) -> Path:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    record, checkpoint = old_files
    (run / "config.yaml").write_text(record.replace("RUN", str(run)))
    (run / "checkpoints" / "last.ckpt").write_bytes(checkpoint)
    return run


def test_value_an_old_run_is_continued(phantom: Path, old_run: Path) -> None:
    assert main(["fit", *demo_arguments(phantom, old_run, *SHORT, "2", *BEFORE)]) == 0
    last = torch.load(old_run / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 2 and last["callbacks"]["RunRecord"]["sizes"]["batch_size"] == 4
    assert "image:\n        encoder" in (old_run / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--model.backbone.text.depth=2", r"model.init_args.backbone.text.depth 1 -> 2"),
        ("--model.shuffle_pairs=true", r"model.init_args.shuffle_pairs False -> True"),
        ("--data.batch_size=2", "data.init_args.batch_size 4 -> 2"),
    ],
)
def test_error_an_old_run_of_other_settings(
    option: str, told: str, phantom: Path, old_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", *demo_arguments(phantom, old_run, *SHORT, "2", *BEFORE, option)]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"was started with other settings: {told}. Set them back" in error


def test_value_an_old_run_is_tested_and_started_from(phantom: Path, old_run: Path, tmp_path: Path) -> None:
    assert main(["test", *demo_arguments(phantom, old_run, *SHORT[:-1], "--ckpt_path", "last", BEFORE[-1])]) == 0
    assert (old_run / "results_test.json").is_file()
    start = ("--model.checkpoint", str(old_run), BEFORE[-1])
    assert main(["fit", *demo_arguments(phantom, tmp_path / "new", *SHORT, "1", *start)]) == 0
