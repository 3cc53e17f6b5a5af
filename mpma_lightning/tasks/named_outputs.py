"""NamedOutputsTask: a trained head with one output for each class, structure or answer."""

from typing import Any

import torch
from torch import Tensor

from data_modules.errors import UserError
from data_modules.index.labels import same_class
from mpma_lightning.backbones.checkpoint import CARGO
from mpma_lightning.tasks.supervised import SupervisedTask

HEAD = "head"
"""Key of a checkpoint: ``names`` of the head's outputs, and what :meth:`NamedOutputsTask.head_entries` adds."""


class NamedOutputsTask(SupervisedTask):
    """A head with one output a name: a class, a structure, an answer.

    The names come from the data, and with ``ckpt_path`` from the checkpoint. ``validate`` and ``test`` match names and
    score those that both know.
    """

    outputs = "labels"
    """What the data must have, in words."""

    def __init__(self, **common: Any) -> None:
        super().__init__(**common)
        self.classes: list[str] = []

    # what a subclass says

    def annotated(self) -> list[str]:
        """Names of what the data tell apart."""
        return list(self.data_spec.classes)

    def build_head(self) -> None:
        """What has one output for each of ``self.classes``; called again when a checkpoint knows others."""
        raise NotImplementedError

    def head_entries(self) -> dict[str, Any]:
        """What a checkpoint keeps of the head beside its names; plain types."""
        return {}

    def take_head(self, known: dict[str, Any]) -> None:
        """Build the head that a checkpoint knows: its ``names`` and :meth:`head_entries`."""
        if known["names"] != self.classes:
            self.classes = list(known["names"])
            self.build_head()

    # skeleton

    def build_heads(self) -> None:
        self.classes, stage = self.annotated(), self.trainer.state.fn
        if not self.classes and stage != "predict":
            raise UserError(f"{self.data_spec.name} has no {self.outputs}; choose a data set with {self.outputs}")
        if stage == "fit":
            self.refuse_without_positive(self.data_spec.train_positives, self.data_spec.counts.get("train", 0))
        self.build_head()
        self.freeze_backbone()

    def refuse_without_positive(
        self, positives: dict[str, int], samples: int, fraction: float | None = None, seed: int | None = None
    ) -> None:
        """UserError for a class of the head that no training sample has.

        Args:
            positives: training samples by class.
            samples: all training samples.
            fraction, seed: of the draw of training samples; those of the data unless given.
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
        """Place among the data's names -> place among the head's, of those that both know."""
        theirs = self.annotated()
        names = [same_class(name, theirs) for name in self.classes]
        return {theirs.index(name): place for place, name in enumerate(names) if name}

    def aligned(self, labels: Tensor) -> Tensor:
        """(B, K) labels of the head's classes out of the data's; NaN where the data lack a class."""
        unknown = labels.new_full((len(labels), len(self.classes)), torch.nan)
        for theirs, ours in self.shared().items():
            unknown[:, ours] = labels[:, theirs]
        return unknown

    def on_test_start(self) -> None:
        super().on_test_start()
        if not self.shared():
            raise UserError(
                f"{self.data_spec.name} has {self.outputs} of {', '.join(self.annotated()) or 'nothing'}; the "
                f"checkpoint's head knows {', '.join(self.classes)}: none in common, so nothing can be scored; choose "
                "data that it was trained for"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint[HEAD] = {"names": self.classes, **self.head_entries()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        path, theirs = self.trainer.ckpt_path, checkpoint[CARGO]["task"]
        if theirs != type(self).__name__:
            raise UserError(
                f"ckpt_path {path} is of a {theirs}; fit a {type(self).__name__} first, starting from "
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


def head_of(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint knows of its head; older ones have a key of their own for each kind of task."""
    if HEAD in checkpoint:
        return dict(checkpoint[HEAD])
    if "classes" in checkpoint:
        return {**checkpoint["classes"], "heads": checkpoint.get("heads", [])}
    return {"names": next(checkpoint[key] for key in ("structures", "answers") if key in checkpoint)}
