"""``trainer.precision: auto``: what it becomes on which hardware, and that the trainer gets it."""

from pathlib import Path

import pytest
import torch
from toy_run import EXPERIMENT, fit, toy  # noqa: F401

from mpma_lightning.cli import precision_choice
from mpma_lightning.cli.precision_choice import chosen_precision, has_amx
from mpma_lightning.cli.training import CommandReader


@pytest.mark.parametrize(
    ("accelerator", "gpu", "amx", "mps", "expected"),
    [
        ("auto", "bf16", False, False, "bf16-mixed"),
        ("cuda", "bf16", False, False, "bf16-mixed"),
        ("auto", "old", True, False, "32-true"),
        ("cpu", "bf16", False, False, "32-true"),
        ("cpu", "bf16", True, False, "bf16-mixed"),
        ("auto", None, True, False, "bf16-mixed"),
        ("auto", None, False, False, "32-true"),
        ("auto", None, False, True, "32-true"),
    ],
)
def test_value_auto(monkeypatch, accelerator, gpu, amx, mps, expected) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: gpu == "bf16")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(precision_choice, "has_amx", lambda: amx)
    assert chosen_precision("auto", accelerator) == expected
    assert chosen_precision("64-true", accelerator) == "64-true"


@pytest.mark.parametrize(("flags", "expected"), [("fpu amx_bf16 avx2", True), ("fpu avx512_bf16", False), ("", False)])
def test_value_amx_is_a_flag_of_the_processor(monkeypatch, tmp_path: Path, flags: str, expected: bool) -> None:
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(precision_choice, "CPU_INFO", info)
    monkeypatch.setattr(precision_choice.sys, "platform", "linux")
    assert not has_amx()  # no such file
    info.write_text(f"processor\t: 0\nmodel name\t: amx_bf16 is only a name\nflags\t\t: {flags}\n" if flags else "")
    assert has_amx() == expected


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(("amx", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_value_a_run_is_trained_in_it(monkeypatch, tmp_path: Path, amx: bool, expected: str) -> None:
    """The config keeps what was asked for; a value that is none is refused as before (test_cli_errors.py)."""
    seen = []
    monkeypatch.setattr(precision_choice, "has_amx", lambda: amx)
    monkeypatch.setattr(precision_choice.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("mpma_lightning.cli.training.refuse_half_on_cpu", lambda it, _: seen.append(str(it.precision)))
    assert fit("--trainer.precision", "auto", "--trainer.accelerator", "cpu") == 0
    assert seen == [expected]
    words = ["fit", "--config", str(EXPERIMENT), "--trainer.precision=auto"]
    assert CommandReader("fit").settings(words)["trainer"]["precision"] == "auto"
