"""Mistakes on the command line and in configs: one line, the nearest right spelling, no traceback."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from toy_run import EXPERIMENT, fit, toy, write

from data_modules.errors import UserError
from mpma_lightning.cli.backbone_name import refuse_unknown_backbone
from mpma_lightning.cli.main import main
from mpma_lightning.runs.folder import Run

pytestmark = pytest.mark.usefixtures("toy")
DATA = "data: {class_path: ToyData, init_args: {root: x}}\n"


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if not line.startswith("Seed set")]
    assert len(lines) == 1 and lines[0].startswith("error: ") and len(lines[0]) < 330, captured.err
    assert captured.out == ""
    return lines[0].removeprefix("error: ")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--model.optm.lr", "3"], "model: ToyTask has no argument 'optm.lr'; did you mean 'optim'?"),
        (["--model.optim.lrr", "3"], "model.optim: ToyOptim has no argument 'lrr'; did you mean 'lr'?"),
        (["--model.optim.lr", "abc"], "model.optim.lr: expected a number, got 'abc'"),
        (["--model.optim.decay", "coz"], "model.optim.decay: unknown choice 'coz' (one of cosine, linear)"),
        (["--model.optim.decay", "coseen"], "unknown choice 'coseen'; did you mean 'cosine'? (one of cosine, linear)"),
        (["--model", "ToyTsk"], "model: unknown class 'ToyTsk'; did you mean 'ToyTask'?"),
        (["--trainer.max_stepz", "3"], "unknown key 'trainer.max_stepz'; did you mean 'trainer.max_steps'?"),
        (["--trainer.max_steps", "many"], "trainer.max_steps: expected a whole number, got 'many'"),
        (["--trainer.precision", "16-mixd"], "trainer.precision: unknown choice '16-mixd'; did you mean '16-mixed'?"),
        (["--trainer.callbacks+", "ModelCheckpont"], "trainer.callbacks: unknown class 'ModelCheckpont'; did you mean"),
        (["--trainer.logger", "CSVLoger"], "trainer.logger: unknown class 'CSVLoger'; did you mean 'CSVLogger'?"),
        (["--data", "absent.yaml"], "data: file absent.yaml does not exist"),
        (["--config", "absent.yaml"], "config file absent.yaml does not exist"),
        (["--config", "experiments/toy/frst.yaml"], "does not exist; did you mean 'first.yaml'?"),
        (["experiments/toy/first.yaml"], "unexpected argument 'experiments/toy/first.yaml'; options start with --"),
        (["--modl.width", "3"], "unknown key 'modl.width'; did you mean 'model'?"),
    ],
)
def test_error_on_the_command_line(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(*words) == 2
    assert expected in one_line(capsys)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (DATA + "model: {class_path: ToyTask, init_args: {optim: {lrr: 1}}}", "no argument 'lrr'; did you mean 'lr'?"),
        (DATA + "model: {class_path: ToyTask, init_args: {optm: {lr: 1}}}", "no argument 'optm.lr'; did you mean"),
        (DATA + "model: {class_path: ToyTask, init_args: {optim: {lr: abc}}}", "model.optim.lr: expected a number"),
        (DATA + "model: {class_path: ToyTask, width: 3}", "model: the arguments of a class belong under init_args"),
        (DATA + "model: {init_args: {width: 3}}", "model: 'width' is given before its class"),
        (DATA + "model: 3", "model: expected a class_path with init_args, got '3'"),
        (DATA, "missing: model; name an experiment"),
        (
            DATA + "model: {class_path: ToyTask, init_args: {width: '${nope.x}'}}",
            "model.init_args.width: ${nope.x} refers",
        ),
        (DATA + "model: {class_path: ToyTask, init_args: {optim: o.yaml}}", "model.optim: file o.yaml does not exist"),
        (DATA + "model: ToyTask\ntrainer: {max_stepz: 1}", "'trainer.max_stepz'; did you mean 'trainer.max_steps'?"),
        (DATA + "modl: ToyTask\nmodel: ToyTask", "unknown key 'modl'; did you mean 'model'?"),
        (
            DATA
            + "model: ToyTask\ntrainer: {callbacks+: [{class_path: ModelCheckpoint, init_args: {save_lst: true}}]}",
            "trainer.callbacks: ModelCheckpoint has no argument 'save_lst'; did you mean 'save_last'?",
        ),
        ("model: ToyTask\ndata: {class_path: ToyDat}", "data: unknown class 'ToyDat'; did you mean 'ToyData'?"),
        ("model: ToyTask\ndata: {class_path: Elephant}", "data: unknown class 'Elephant'; there is: ToyData"),
        ("model: ToyTask\ndata: {class_path: nope.Elephant}", "class 'nope.Elephant' would import the package 'nope'"),
        ("model: ToyTask\ndata: {class_path: ToyData}", "data: ToyData needs root"),
        ("model: ToyTask\ndata: parts/x.yaml", "config file parts/x.yaml does not exist, named in t.yaml"),
        (DATA + "model:\n  class_path: ToyTask\n   width: 3", "t.yaml:4: not valid YAML: "),
        ("", "t.yaml: expected `key: value` lines, found an empty file"),
    ],
)
def test_error_in_a_config(text: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", write("t.yaml", text)]) == 2
    assert expected in one_line(capsys)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fitt"], "unknown command 'fitt'; did you mean 'fit'?"),
        (["phantom", "--outt", "x"], "unknown key 'outt'; did you mean 'out'?"),
        (["phantom", "--out", "x", "--patients", "few"], "patients: expected a whole number, got 'few'"),
        (["phantom"], "missing: out"),
        (["backbones", "a", "b"], "backbones takes one PATTERN"),
        (["fit"], "missing: data, model; name an experiment"),
    ],
)
def test_error_of_commands(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert expected in one_line(capsys)


def test_error_of_the_trainer(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("--trainer.accelerator", "gpux") == 1
    assert "trainer: You selected an invalid accelerator" in one_line(capsys)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_error_of_devices_that_are_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("--trainer.accelerator", "gpu") == 1
    assert "no gpu that torch can use: give --trainer.accelerator cpu, or auto" in one_line(capsys)
    for precision in ("16-mixed", "16-true"):
        assert fit("--trainer.precision", precision) == 1
        assert "needs a GPU" in (said := capsys.readouterr().err.splitlines()[-1]) and "bf16-mixed or 32-true" in said


@pytest.mark.skipif(find_spec("wandb") is not None, reason="wandb is there")
def test_error_of_a_logger_that_is_not_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("--trainer.logger", "WandbLogger") == 1
    assert "wandb" in one_line(capsys)


def test_error_of_a_backbone_comes_before_the_run_is_compared() -> None:
    refuse_unknown_backbone({"init_args": {"backbone": {"name": "mpma_vit_t16"}}})
    with pytest.raises(UserError, match="'mpma_vit_t61'; did you mean 'mpma_vit_t16'"):
        refuse_unknown_backbone({"init_args": {"backbone": {"name": "mpma_vit_t61", "image": {"size": 64}}}})


def test_error_reaches_the_shell_as_one_line() -> None:
    write("broken.yaml", EXPERIMENT + "  - x")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-m", "mpma_lightning", "fit", "--config", "broken.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: broken.yaml:9: not valid YAML") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("devices", ["0", "-2", "[]", "many", "1.5"])
def test_error_odd_devices(devices: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("--trainer.devices", devices) in (1, 2)
    one_line(capsys)


def test_error_continue_from_weights_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit() == 0
    path = Path("runs/toy/first/checkpoints/last.ckpt")
    content = torch.load(path, weights_only=True)
    torch.save({key: content[key] for key in content if key not in ("optimizer_states", "lr_schedulers")}, path)
    assert fit("--trainer.max_steps", "5") == 1
    assert "last.ckpt holds weights and no optimiser state" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("monitor", "why"),
    [(None, "no ModelCheckpoint of the run has a `monitor`"), ("val/loss", "no validation has ended")],
)
def test_error_best_of_a_run_that_has_none(tmp_path: Path, monitor: str | None, why: str) -> None:
    state = {"monitor": monitor, "best_model_path": "step=100.ckpt" if monitor is None else ""}
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").touch()
    torch.save({"state_dict": {}, "callbacks": {"ModelCheckpoint": state}}, tmp_path / "checkpoints" / "last.ckpt")
    with pytest.raises(UserError, match=f"knows no best checkpoint: {why}.*--ckpt_path last"):
        Run(tmp_path).best_or_refuse()


__all__ = ["toy"]
