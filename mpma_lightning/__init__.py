"""MPMA-Lightning: multi-task paired masking with alignment for medical vision-language pre-training."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """:func:`mpma_lightning.inference.load` as ``mpma_lightning.load``; torch is imported when it is first read."""
    if name == "load":
        return import_module("mpma_lightning.inference").load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
