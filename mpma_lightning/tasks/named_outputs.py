"""NamedOutputsTask: a trained head with one output for each class, structure or answer."""

from typing import Any

import torch
from torch import Tensor

from data_modules.errors import UserError
from data_modules.index.labels import same_class
from mpma_lightning.backbones.checkpoint import CARGO
from mpma_lightning.heads.carried import HEAD, head_of
from mpma_lightning.tasks.supervised import SupervisedTask


class NamedOutputsTask(SupervisedTask):
    """A head with one output for each name: of a class, a structure or an answer.

    The names come from the data, or with ``ckpt_path`` from the checkpoint. ``validate`` and ``test`` score the names
    that the head and the data share.
    """

    outputs = "labels"
    """Name of the annotations that the data must have, for messages."""

    def __init__(self, **common: Any) -> None:
        super().__init__(**common)
        self.classes: list[str] = []

    # to be overridden

    def annotated(self) -> list[str]:
        """Names that the data have."""
        return list(self.data_spec.classes)

    def build_head(self) -> None:
        """Build the head with one output for each of ``self.classes``; called again if a checkpoint has others."""
        raise NotImplementedError

    def head_entries(self) -> dict[str, Any]:
        """Further entries about the head in a checkpoint; plain types."""
        return {}

    def take_head(self, known: dict[str, Any]) -> None:
        """Build the head of a checkpoint, from its ``names`` and :meth:`head_entries`."""
        if known["names"] != self.classes:
            self.classes = list(known["names"])
            self.build_head()

    # common to all

    def build_heads(self) -> None:
        self.classes, stage = self.annotated(), self.trainer.state.fn
        if not self.classes and stage != "predict":
            raise UserError(f"{self.data_spec.name} has no {self.outputs}; choose a data set with {self.outputs}")
        if stage == "fit":
            self.refuse_without_positive(self.data_spec.train_positives, self.data_spec.counts.get("train", 0))
        self.build_head()
        if self.frozen:
            self.backbone.requires_grad_(False).eval()

    def refuse_without_positive(
        self, positives: dict[str, int], samples: int, fraction: float | None = None, seed: int | None = None
    ) -> None:
        """Raise UserError for a class without a positive training sample.

        Args:
            positives: number of positive training samples by class.
            samples: number of training samples.
            fraction, seed: of the choice of training samples; default: those of the data.
        """
        for name in self.classes:
            if positives.get(name) == 0:
                share = self.data_spec.label_fraction if fraction is None else fraction
                raise UserError(
                    f"class {name!r} has no positive among the {samples:,} training samples (label fraction {share:g}, "
                    f"seed {self.data.seed if seed is None else seed}); leave it out of data.labels, or take a larger "
                    "fraction or another seed"
                )

    def shared(self) -> dict[int, int]:
        """Index among the data's names to index among the head's, for shared names."""
        available = self.annotated()
        names = [same_class(name, available) for name in self.classes]
        return {available.index(name): output for output, name in enumerate(names) if name}

    def aligned(self, labels: Tensor) -> Tensor:
        """(B, K) labels of the head's classes, from those of the data; NaN for a class that the data lack."""
        aligned = labels.new_full((len(labels), len(self.classes)), torch.nan)
        for column, output in self.shared().items():
            aligned[:, output] = labels[:, column]
        return aligned

    def on_test_start(self) -> None:
        super().on_test_start()
        if not self.shared():
            raise UserError(
                f"{self.data_spec.name} has {self.outputs} of {', '.join(self.annotated()) or 'nothing'}, the "
                f"checkpoint's head predicts {', '.join(self.classes)}: none in common; choose data that have at least "
                "one of these"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint[HEAD] = {"names": self.classes, **self.head_entries()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        path, task = self.trainer.ckpt_path, checkpoint[CARGO]["task"]
        if task != type(self).__name__:
            raise UserError(
                f"ckpt_path {path} is of a {task}; fit a {type(self).__name__} first, starting from "
                f"--model.checkpoint {path}"
            )
        known = head_of(checkpoint)
        if self.trainer.state.fn == "fit" and known["names"] != self.classes:
            raise UserError(
                f"ckpt_path {path} was trained on the {self.outputs} {_listed(known['names'])}, the data have "
                f"{_listed(self.classes)}; continue with the same data, or start a new run"
            )
        self.take_head(known)
        self.trained = True


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:14])}{', …' if len(names) > 14 else ''}"
