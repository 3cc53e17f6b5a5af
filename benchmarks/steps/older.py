"""What the official codes expect of older libraries and of downloads, given back around them; they stay as they are."""

import argparse
import importlib
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from itertools import cycle
from types import ModuleType
from typing import Any

import numpy as np
import torch
import worker


def give_back(given: argparse.Namespace) -> None:
    """The checkout becomes importable, in place of this folder, whose files have the names of its packages;
    ``np.float`` is there again, and ``.cuda()`` does nothing on a CPU."""
    sys.path[0] = given.checkout
    if not hasattr(np, "float"):
        np.float = float  # type: ignore[attr-defined]
    if given.device == "cpu":
        torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign, assignment]


def lightning() -> None:
    """A module of ``pytorch_lightning`` that no trainer runs has ``None`` for it, and logs nothing."""
    lightning = importlib.import_module("pytorch_lightning")
    sys.modules["pytorch_lightning.metrics"] = importlib.import_module("torchmetrics")
    for name in ("DDPPlugin", "DDP2Plugin"):
        setattr(importlib.import_module("pytorch_lightning.plugins"), name, object)
    module = lightning.LightningModule
    module.trainer = None
    module.log = module.log_dict = lambda *_, **__: None


class Unused(ModuleType):
    """A library that no step calls: every name in it is an empty class."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def unused(*names: str) -> None:
    """Stand in for libraries that an official code imports and no step of it calls."""
    for name in names:
        parts = name.split(".")
        for depth in range(1, len(parts) + 1):
            whole = ".".join(parts[:depth])
            module = Unused(whole)
            module.__path__ = []
            module.__spec__ = ModuleSpec(whole, None, is_package=True)
            sys.modules.setdefault(whole, module)


def random_weights(model: type, *arguments: Any, **options: Any) -> None:
    """``model.from_pretrained`` downloads nothing: it takes the arguments of the class, and those given here."""

    def build(name: str, **more: Any) -> Any:
        return model(*arguments, **options, **more)

    model.from_pretrained = build  # type: ignore[attr-defined]


def serve(model: Any, batch_of: Callable[[int], dict[str, Any]], given: argparse.Namespace) -> None:
    """Take training steps of a module of ``pytorch_lightning`` as the parent asks for them, on four batches in turn."""
    turns = cycle([batch_of(given.batch) for _ in range(4)])

    def loss() -> torch.Tensor:
        return model.training_step(model.transfer_batch_to_device(next(turns), torch.device(given.device), 0), 0)

    worker.serve(model, worker.optimised(worker.groups(model)), loss, given)
