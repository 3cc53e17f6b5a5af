"""The shipped tasks and data sets can be named without their modules."""

import pytest
import yaml

from mpma_lightning.cli.main import main


def test_smoke_short_class_names(capsys: pytest.CaptureFixture[str]) -> None:
    model = ["--model", "PretrainingTask", "--model.backbone", "mpma_vit_t16", "--model.optim.lr", "2e-4"]
    data = ["--data", "PairsDataModule", "--data.root", "x", "--data.text.max_tokens", "64"]
    assert main(["fit", *model, *data, "--print_config"]) == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["model"]["class_path"] == "mpma_lightning.tasks.pretraining.PretrainingTask"
    assert config["model"]["init_args"]["optim"]["lr"] == 2e-4
    assert config["data"]["class_path"] == "data_modules.pairs.PairsDataModule"
    assert config["data"]["init_args"]["text"]["max_tokens"] == 64


def test_error_in_a_nested_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--model", "PretrainingTask", "--model.optm.lr", "1"]) == 2
    assert capsys.readouterr().err == "error: model: PretrainingTask has no argument 'optm.lr'; did you mean 'optim'?\n"
