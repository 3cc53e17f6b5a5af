"""Classification of images, texts or both, with several labels or one class per sample, by fine-tuning."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data_modules.errors import UserError
from mpma_lightning.backbones.families import is_plain_vit
from mpma_lightning.evaluation.classification import (
    ACCURACY,
    AP,
    AUROC,
    F1,
    F1_LIKELIEST,
    auroc_interval,
    best_thresholds,
)
from mpma_lightning.evaluation.long_tail import long_tail_scores
from mpma_lightning.evaluation.metric import Metric, Scores, with_interval
from mpma_lightning.evaluation.samples import SampleTable
from mpma_lightning.objectives.labels import label_loss
from mpma_lightning.tasks.base import Step
from mpma_lightning.tasks.labelled import LabelledTask


class ClassificationTask(LabelledTask):
    """Fine-tunes a backbone with a linear head.

    ``validate`` and ``test`` score the classes that the data and the head share by name, so that a model can be tested
    on another data set. F1 uses the threshold of each class with the best F1 in validation, stored with the weights;
    0.5 without a validation, and of a class with two outputs. Names for ``optim.scale``: ``head``, ``backbone``,
    ``backbone.image``.

    Args:
        protocol: ``cls-finetune``, ``cls-finetune-benchx`` or ``cls-finetune-mrm``, which set the norm before the head,
            its initialisation, the encoder's learning rate and drop-path; ``cls-multimodal`` for any ``input``;
            ``cls-cxr-lt`` for scores of frequent and rare classes apart.
    """

    monitor = AUROC
    selectable: tuple[Metric, ...] = (AP, F1, ACCURACY, F1_LIKELIEST)

    def __init__(self, *, protocol: str = "cls-finetune", **common: Any) -> None:
        super().__init__(protocol=protocol, **common)
        self.optim = replace(self.optim, scale={"backbone": self.fixed.encoder_lr, **self.optim.scale})
        image = self.spec.image
        if self.fixed.drop_path:
            image = replace(image, options={**(image.options or {}), "drop_path_rate": self.fixed.drop_path})
        if self.fixed.norm_after_pool and image.pool == "mean" and is_plain_vit(image.encoder):
            image = replace(image, pool="mean_before_norm")
        self.spec = replace(self.spec, image=image)

    def build_heads(self) -> None:
        super().build_heads()
        samples = self.data_spec.counts.get("train", 0)
        self.shares = {name: n / samples for name, n in self.data_spec.train_positives.items() if samples}

    def build_head(self) -> None:
        self.head = self.new_head()
        self.register_buffer("thresholds", torch.full((len(self.classes),), 0.5))

    def step(self, batch: dict[str, Any], stage: str) -> Step:
        logits, labels = self.head(self.features(batch)), self.aligned(batch["labels"])
        if stage != "train":
            scores = self.likelihoods(logits)
            self.check_finite(scores=scores)
            self.keep(batch, labels=labels, scores=scores)
        return {"label_loss": self.label_loss(logits, labels)}

    def label_loss(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the loss over what is labelled, and its number."""
        return label_loss(logits, labels, self.exclusive)

    def score(self, rows: dict[str, np.ndarray], stage: str) -> Scores:
        """Metrics; in ``fit``, also set the thresholds."""
        labels, scores = rows["labels"], rows["scores"].astype(np.float64)
        if stage == "val" and self.trainer.state.fn == "fit" and not self.two_outputs:
            best = best_thresholds(labels, scores, default=0.5)
            self.thresholds = torch.as_tensor(best, dtype=torch.float32, device=self.device)
        found = self.class_metrics(labels, scores, self.thresholds.cpu().double().numpy())
        if self.fixed.long_tail is not None:
            found = long_tail_scores(found, labels, self.classes, self.shares, self.fixed.long_tail)
        if stage == "test":
            self.samples = SampleTable(
                rows["id"], rows["patient"], classes=self.classes, labels=labels, scores={(AUROC, ""): scores}
            )
            if AUROC in found:
                found |= with_interval(AUROC, auroc_interval(labels, scores, rows["patient"]))
        return found

    def head_entries(self) -> dict[str, Any]:
        return super().head_entries() | ({"shares": self.shares} if self.fixed.long_tail else {})

    def take_head(self, known: dict[str, Any]) -> None:
        super().take_head(known)
        if self.fixed.long_tail is not None and "shares" not in known:
            raise UserError(
                f"the checkpoint was trained under another protocol than {self.protocol} and does not know how "
                "frequent its classes were; test it under its own protocol"
            )
        self.shares = dict(known.get("shares", {}))

    def predict(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Ids and a score for each class."""
        return self.named_scores(batch["id"], self.likelihoods(self.head(self.features(batch))))
