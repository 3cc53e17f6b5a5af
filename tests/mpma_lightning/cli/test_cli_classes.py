"""The shipped tasks and data sets can be named without their modules."""

from pathlib import Path

import pytest
import yaml

from mpma_lightning.cli.main import main

NAMED = """
model: {class_path: PretrainingTask, init_args: {backbone: mpma_vit_t16}}
data: {class_path: PairsDataModule, init_args: {root: x}}
"""
UNNAMED = NAMED.replace("mpma_vit_t16", "null")
DEPTH = "model: {init_args: {backbone: {text: {depth: 1}}}}"


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


@pytest.mark.parametrize(
    ("files", "options"),
    [
        ([NAMED], ["--model.backbone.text.depth", "1"]),
        ([NAMED, DEPTH], []),
        ([NAMED], ["--model.backbone", "{text: {depth: 1}}"]),
        ([NAMED.replace("mpma_vit_t16", "mpma_vit_s16"), DEPTH], ["--model.backbone=mpma_vit_t16"]),
        (
            [UNNAMED],
            ["--model.backbone", "mpma_vit_t16", "--model.backbone.text.depth=1"],
        ),
        ([UNNAMED, "model: part.yaml"], ["--model.init_args.backbone.text.depth", "1"]),
    ],
)
def test_value_the_name_of_a_backbone_stays_when_a_field_is_set(
    files: list[str],
    options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("part.yaml").write_text("class_path: PretrainingTask\ninit_args: {backbone: mpma_vit_t16}")
    words = []
    for number, text in enumerate(files):
        Path(f"{number}.yaml").write_text(text)
        words += ["--config", f"{number}.yaml"]
    assert main(["fit", *words, *options, "--print_config"]) == 0
    backbone = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]["backbone"]
    assert backbone["name"] == "mpma_vit_t16" and backbone["text"]["depth"] == 1


def test_value_a_backbone_can_be_left_to_the_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(NAMED)
    assert main(["fit", "--config", str(tmp_path / "a.yaml"), "--model.backbone", "null", "--print_config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]["backbone"] is None
