"""Ctrl-C and SIGTERM in the middle of a training."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_run import ToyTask, fit, toy

pytestmark = pytest.mark.usefixtures("toy")
RUN = Path("runs/toy/first")
LAST = RUN / "checkpoints/last.ckpt"
__all__ = ["toy"]


@pytest.fixture
def strike(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Send a signal in the training step of a number."""
    before, handlers = ToyTask.training_step, [(n, signal.getsignal(n)) for n in (signal.SIGINT, signal.SIGTERM)]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts the tests by `&` ignores Ctrl-C

    def at(step: int, number: int, times: int = 1) -> None:
        left = [number] * times

        def strikes(task: ToyTask, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
            while task.global_step == step and left:
                os.kill(os.getpid(), left.pop())
            return before(task, batch, batch_idx)

        monkeypatch.setattr(ToyTask, "training_step", strikes)

    yield at
    for number, handler in handlers:
        signal.signal(number, handler)


def content(path: Path = LAST) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(path, weights_only=True)
    return found


@pytest.mark.parametrize(("accumulate", "saved"), [(1, 5), (2, 6)])
def test_value_ctrl_c_saves_the_step(
    strike: Any, accumulate: int, saved: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """An epoch has two batches: with two of them a step, a validation is due after each."""
    more = ("--trainer.max_steps", "9", "--trainer.accumulate_grad_batches", str(accumulate))
    strike(4, signal.SIGINT)
    assert fit(*more) == 130
    said = capsys.readouterr().err
    assert f"interrupted: saved at step {saved}; the same command continues from {LAST}" in said
    assert content()["global_step"] == saved
    strike(-1, signal.SIGINT)
    assert fit(*more) == 0
    continued = content()
    assert fit(*more, "--trainer.default_root_dir", "whole") == 0
    whole = content(Path("whole/checkpoints/last.ckpt"))
    assert continued["global_step"] == whole["global_step"] == 9
    assert all(torch.equal(value, whole["state_dict"][name]) for name, value in continued["state_dict"].items())


def test_value_a_second_ctrl_c_ends_at_once(strike: Any, capsys: pytest.CaptureFixture[str]) -> None:
    strike(1, signal.SIGINT, times=2)
    assert fit("--trainer.max_steps", "9") == 130
    assert "no checkpoint was written yet" in capsys.readouterr().err and not LAST.exists()


def test_value_a_validation_that_is_due_comes_first(strike: Any) -> None:
    strike(1, signal.SIGINT)  # an epoch has two steps
    assert fit("--trainer.max_steps", "9") == 130
    assert content()["global_step"] == 3


def test_value_ctrl_c_in_the_last_step_changes_nothing(strike: Any) -> None:
    strike(8, signal.SIGINT)
    assert fit("--trainer.max_steps", "9") == 0
    assert content()["global_step"] == 9


def test_value_sigterm_saves_the_step(strike: Any, capsys: pytest.CaptureFixture[str]) -> None:
    strike(4, signal.SIGTERM)
    with pytest.raises(SystemExit):
        fit("--trainer.max_steps", "9")
    assert "stopped by SIGTERM: the same command continues" in capsys.readouterr().err
    assert content()["global_step"] == 5


@pytest.mark.parametrize("where", ["training", "validation"])
def test_value_sigterm_where_a_validation_is_due_saves_the_step(
    where: str, strike: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in small data, whose epochs have few steps; an epoch has two here, and a validation two batches."""
    before = ToyTask.validation_step

    def strikes(task: ToyTask, batch: torch.Tensor, batch_idx: int) -> None:
        if task.global_step == 2 and batch_idx == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        before(task, batch, batch_idx)

    strike(1 if where == "training" else -1, signal.SIGTERM)
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        if where == "validation":
            patch.setattr(ToyTask, "validation_step", strikes)
        fit("--trainer.max_steps", "5")
    assert content()["global_step"] == 2
    strike(-1, signal.SIGTERM)
    assert fit("--trainer.max_steps", "5") == 0
    assert fit("--trainer.max_steps", "5", "--trainer.default_root_dir", "whole") == 0
    continued, whole = content(), content(Path("whole/checkpoints/last.ckpt"))
    assert continued["global_step"] == whole["global_step"] == 5 and continued["epoch"] == whole["epoch"]
    assert all(torch.equal(value, whole["state_dict"][name]) for name, value in continued["state_dict"].items())


def test_value_files_that_say_nothing_are_not_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(task: ToyTask) -> None:
        raise RuntimeError("no optimiser")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(ToyTask, "configure_optimizers", broken)
        fit("--trainer.default_root_dir", "failed")
    assert not [*Path("failed").glob("events*")]
    assert fit("--trainer.log_every_n_steps", "1") == 0
    kept = [*RUN.glob("events*")]
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(ToyTask, "configure_optimizers", broken)
        fit("--trainer.max_steps", "5")
    assert len(kept) == 1 and [*RUN.glob("events*")] == kept
