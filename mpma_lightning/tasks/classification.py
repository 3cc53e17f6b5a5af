"""Classification of images, texts or both, multi-label or with exclusive classes: fine-tuning with a linear head."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from data_modules.errors import UserError
from data_modules.index.labels import same_class
from mpma_lightning.backbones import BackboneSpec
from mpma_lightning.evaluation.classification import (
    AUROC,
    auroc_interval,
    best_thresholds,
    classification_scores,
    exclusive_scores,
)
from mpma_lightning.evaluation.finite import refuse_broken
from mpma_lightning.evaluation.metric import Metric, Scores, with_interval
from mpma_lightning.evaluation.samples import SampleTable
from mpma_lightning.heads.linear_head import linear_head, protocol_for
from mpma_lightning.objectives.labels import label_loss
from mpma_lightning.optim import Optim
from mpma_lightning.precision import full
from mpma_lightning.predictions.table import TableWriter
from mpma_lightning.tasks.base import GRAY_MEAN, GRAY_STD, Step, Task

CLASSES = "classes"
"""Key of the head's classes in a checkpoint: a list of names, and whether they are exclusive."""


class ClassificationTask(Task):
    """Fine-tuning; classes come from the data, and with ``ckpt_path`` from the checkpoint.

    ``validate`` and ``test`` match classes by name and score those the data and the head share, so a model trained on
    one data set is tested on another. F1 takes the threshold of each class that was best on validation, stored with
    the weights; without validation 0.5.

    Args:
        backbone: see :class:`Task`.
        checkpoint: see :class:`Task`.
        checkpoint_parts: see :class:`Task`.
        protocol: ``cls-finetune-benchx`` or ``cls-finetune-mrm``: decides LayerNorm before the head, the head's
            initialisation, the encoder's learning rate and drop-path; the result row carries it. ``cls-multimodal``
            for ``input`` of any kind.
        optim: see :class:`Task`. Names for ``scale``: ``head``, ``backbone.image``; ``backbone`` as the protocol says.
        mean: see :class:`Task`.
        std: see :class:`Task`.
        input: what the head reads: the pooled ``image``, the pooled ``text``, or ``both``: the fused representation.
        pool: where ``both`` reads the fused text; see ``Backbone.fused_representation``.
    """

    frozen = False
    reads_labels = True
    monitor: Metric | None = AUROC

    def __init__(
        self,
        backbone: BackboneSpec | str | None = None,
        checkpoint: str | None = None,
        checkpoint_parts: list[str] | None = None,
        protocol: str = "cls-finetune-benchx",
        optim: Optim | None = None,
        mean: float = GRAY_MEAN,
        std: float = GRAY_STD,
        input: Literal["image", "text", "both"] = "image",
        pool: Literal["mask", "mean", "cls"] = "mask",
    ) -> None:
        super().__init__(backbone, checkpoint, checkpoint_parts, optim, mean, std)
        self.input, self.pool = input, pool
        self.protocol, self.switches = protocol, protocol_for(protocol, self.frozen, input)
        self.optim = replace(self.optim, scale={"backbone": self.switches.encoder_lr, **self.optim.scale})
        if self.switches.drop_path:
            options = {**(self.spec.image.options or {}), "drop_path_rate": self.switches.drop_path}
            self.spec = replace(self.spec, image=replace(self.spec.image, options=options))
        self.classes: list[str] = []
        self.exclusive = False
        self.trained = False

    @property
    def parts(self) -> tuple[str, ...]:
        return ("fusion",) if self.input == "both" else (self.input,)

    @property
    def feature_width(self) -> int:
        """D of :meth:`features`."""
        return sum(getattr(self.backbone, name).width for name in self.modalities)

    def features(self, batch: dict[str, Any]) -> Tensor:
        """(B, D) what the head reads."""
        if lacking := [name for name in self.modalities if {"text": "input_ids"}.get(name, name) not in batch]:
            raise UserError(
                f"model.input is {self.input}, but the data have no {lacking[0]}; correct model.input or data"
            )
        if self.input == "text":
            return self.backbone.text(batch["input_ids"], batch["attention_mask"]).pooled
        image = self.backbone.image(self.encoder_input(self.normalise(batch["image"])))
        if self.input == "image":
            return image.pooled
        return self.backbone.fused_representation(image, batch["input_ids"], batch["attention_mask"], self.pool)

    def build_heads(self) -> None:
        spec = self.data_spec
        self.classes, self.exclusive = list(spec.classes), spec.exclusive
        if self.trainer.state.fn == "fit":
            self._refuse_unlearnable(spec)
        self.build_head()

    def _refuse_unlearnable(self, spec: Any) -> None:
        if not self.classes:
            raise UserError(f"{spec.name} has no labels; classification needs a data set with classes")
        for name, positives in spec.train_positives.items():
            refuse_without_positive(name, positives, spec.counts["train"], spec.label_fraction, self._data_seed)

    @property
    def _data_seed(self) -> int:
        return self.data.seed

    def build_head(self) -> None:
        """What has one output a class."""
        self.head = linear_head(self.feature_width, len(self.classes), self.switches)
        self.register_buffer("thresholds", torch.full((len(self.classes),), 0.5))

    def likelihoods(self, logits: Tensor) -> Tensor:
        """(…, K) in [0, 1]."""
        return full(logits).softmax(-1) if self.exclusive else full(logits).sigmoid()

    def aligned(self, labels: Tensor) -> Tensor:
        """(B, K) labels of the head's classes out of the data's; NaN where the data lack a class."""
        theirs = self.data_spec.classes
        names = [same_class(name, theirs) for name in self.classes]
        unknown = labels.new_full((len(labels), 1), torch.nan)
        places = [len(theirs) if name is None else theirs.index(name) for name in names]
        return torch.cat([labels, unknown], 1)[:, places]

    def step(self, batch: dict[str, Any], stage: str) -> Step:
        logits, labels = self.head(self.features(batch)), self.aligned(batch["labels"])
        if stage != "train":
            self.rows.add(id=batch["id"], patient=batch["patient"], labels=labels, scores=self.likelihoods(logits))
        return {"label_loss": label_loss(logits, labels, self.exclusive)}

    def score(self, rows: dict[str, np.ndarray], stage: str) -> Scores:
        """Metrics of an epoch; validation in ``fit`` also sets the thresholds."""
        labels, scores = rows["labels"], rows["scores"].astype(np.float64)
        refuse_broken(rows["id"], scores=scores)
        if stage == "val" and self.trainer.state.fn == "fit":
            best = best_thresholds(labels, scores, default=0.5)
            self.thresholds = torch.as_tensor(best, dtype=torch.float32, device=self.device)
        found = classification_scores(labels, scores, self.classes, self.thresholds.cpu().double().numpy())
        if self.exclusive:
            found |= exclusive_scores(labels, scores)
        if stage == "test":
            table = SampleTable(rows["id"], rows["patient"], classes=self.classes, labels=labels)
            table.scores[AUROC, ""] = scores
            self.samples = table
        if stage == "test" and AUROC in found:
            found |= with_interval(AUROC, auroc_interval(labels, scores, rows["patient"]))
        return found

    def on_validation_start(self) -> None:
        if self.trainer.state.fn != "fit":
            self._refuse_useless()

    def on_test_start(self) -> None:
        self._refuse_useless()

    def on_predict_start(self) -> None:
        self._refuse_untrained()

    def _refuse_untrained(self) -> None:
        if not self.trained:
            raise UserError(
                f"{self.trainer.state.fn}: the classification head is not trained; give --ckpt_path best, last or a "
                "file of a fit (model.checkpoint brings the backbone only)"
            )

    def _refuse_useless(self) -> None:
        """A head that is not trained, or that shares no class with the data."""
        self._refuse_untrained()
        spec = self.data_spec
        if not self.shared_classes():
            raise UserError(
                f"{spec.name} has the classes {', '.join(spec.classes) or '(none)'}; the checkpoint's head knows "
                f"{', '.join(self.classes)}: none in common, so nothing can be scored; choose data.labels or other data"
            )

    def shared_classes(self) -> list[str]:
        """The head's classes that the data have too."""
        theirs = self.data_spec.classes
        return [name for name in self.classes if same_class(name, theirs)]

    def predict(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Ids and a score a class."""
        scores = self.likelihoods(self.head(self.features(batch)))
        return {"id": batch["id"], **{name: scores[:, k] for k, name in enumerate(self.classes)}}

    def prediction_writer(self) -> TableWriter:
        return TableWriter("scores.parquet")

    def result_entries(self) -> dict[str, Any]:
        return {"classes": self.shared_classes(), "input": self.input}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint[CLASSES] = {"names": self.classes, "exclusive": self.exclusive}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        path = self.trainer.ckpt_path
        if CLASSES not in checkpoint:
            raise UserError(
                f"ckpt_path {path} has no classification head; fit one first, starting from --model.checkpoint {path}"
            )
        names, exclusive = checkpoint[CLASSES]["names"], checkpoint[CLASSES]["exclusive"]
        if self.trainer.state.fn == "fit" and names != self.classes:
            raise UserError(
                f"ckpt_path {path} was trained on the classes {', '.join(names)}, the data have "
                f"{', '.join(self.classes)}; continue with the same data.labels, or start a new run"
            )
        self.classes, self.exclusive, self.trained = list(names), exclusive, True
        self.build_head()


def refuse_without_positive(name: str, positives: int, samples: int, fraction: float, seed: int) -> None:
    """UserError for a class that no training sample has."""
    if positives == 0:
        raise UserError(
            f"class {name!r} has no positive among the {samples:,} training samples (label fraction {fraction:g}, seed "
            f"{seed}); leave it out of data.labels, or take a larger fraction or another seed"
        )
