"""``trainer.precision: auto``: bf16 where the hardware multiplies matrices in it, else float32."""

import sys
from pathlib import Path
from typing import Any, Literal

import torch
from jsonargparse import ArgumentParser

AUTO = "auto"
FAST, PLAIN = "bf16-mixed", "32-true"
CPU_INFO = Path("/proc/cpuinfo")


def allow_auto(parser: ArgumentParser) -> None:
    """Let ``trainer.precision`` of a command's parser be ``auto``, beside what Lightning's trainer takes."""
    (action,) = (action for action in parser._actions if action.dest == "trainer.precision")
    action._typehint |= Literal["auto"]  # type: ignore[attr-defined]  # jsonargparse has no public way


def chosen_precision(asked: Any, accelerator: Any) -> Any:
    """What the trainer gets: ``asked``, unless it is ``auto``.

    Args:
        asked: ``trainer.precision``.
        accelerator: ``trainer.accelerator``; anything but ``cpu`` means the GPU, where torch sees one.
    """
    if asked != AUTO:
        return asked
    if accelerator != "cpu" and torch.cuda.is_available():
        return FAST if torch.cuda.is_bf16_supported(including_emulation=False) else PLAIN
    on_cpu = accelerator == "cpu" or not torch.backends.mps.is_available()
    return FAST if on_cpu and has_amx() else PLAIN


def has_amx() -> bool:
    """Whether this processor has units that multiply matrices in bf16 (Intel AMX). Without them bf16 saves nothing."""
    if not sys.platform.startswith("linux") or not CPU_INFO.is_file():
        return False
    flags = (line for line in CPU_INFO.read_text(encoding="utf-8").splitlines() if line.startswith("flags"))
    return "amx_bf16" in next(flags, "").split()
