"""A checkpoint is scored on the split that its run was fitted on."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from toy_run import fit, toy

from data_modules.errors import UserError
from mpma_lightning.cli.main import main
from mpma_lightning.runs.identity import check_same_split

LAST = "runs/toy/first/checkpoints/last.ckpt"


def again(subcommand: str, *words: str) -> int:
    return main([subcommand, "--config", "experiments/toy/first.yaml", "--ckpt_path", "last", *words])


@pytest.mark.usefixtures("toy")
def test_error_another_seed_than_the_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("--data.seed", "1") == 0
    assert again("test", "--data.seed", "1", "--data.batch_size", "2") == 0
    capsys.readouterr()
    for subcommand in ("test", "validate"):
        assert again(subcommand) == 1
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert f"{LAST} was fitted on another split ({LAST}): data.seed 1 -> 0;" in line
        assert line.endswith("Add --data.seed 1")
    assert again("predict") == 0  # scores nothing


def settings(name: str = "data_modules.pairs.PairsDataModule", **arguments: Any) -> dict[str, Any]:
    return {"data": {"class_path": name, "init_args": {"root": "a", "seed": 0, "split_file": None} | arguments}}


@pytest.fixture
def checkpoint(toy: Path) -> Path:
    """Of a run with ``split_file: mine.csv``."""
    file = toy / "run" / "checkpoints" / "last.ckpt"
    file.parent.mkdir(parents=True)
    torch.save({"global_step": 1}, file)  # of an older version: it does not know its data
    (toy / "run" / "config.yaml").write_text(yaml.safe_dump(settings(split_file="mine.csv", split="70/10/20")))
    return file


def test_value_what_may_differ(checkpoint: Path, toy: Path) -> None:
    check_same_split(checkpoint, settings(split_file=str(toy / "mine.csv"), label_fraction=0.1))  # one file, two ways
    check_same_split(checkpoint, settings("data_modules.text.openi_reports.OpenIDataModule", seed=1))
    check_same_split(checkpoint, settings(root="b", split_file="its_own.csv"))
    torch.save({"global_step": 1}, toy / "elsewhere.ckpt")
    check_same_split(toy / "elsewhere.ckpt", settings(seed=1))  # no config to compare with


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "data.split_file 'mine.csv' -> None;.* Add --data.split_file mine.csv$"),
        ({"root": "prepared"}, "data.split_file 'mine.csv' -> None"),
        ({"root": "b", "split_file": "mine.csv", "seed": 3}, "data.seed 0 -> 3"),
        ({"split_file": "mine.csv", "split": "official"}, "data.split '70/10/20' -> 'official'"),
        ({"split_file": "other.csv", "seed": 1}, "Add --data.seed 0 --data.split_file mine.csv$"),
    ],
)
def test_error_another_split(checkpoint: Path, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        check_same_split(checkpoint, settings(**arguments))


__all__ = ["toy"]
