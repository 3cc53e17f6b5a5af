"""Classification of images, texts or both, multi-label or with exclusive classes: fine-tuning with a linear head."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from mpma_lightning.evaluation.classification import (
    AUROC,
    auroc_interval,
    best_thresholds,
    classification_scores,
    exclusive_scores,
)
from mpma_lightning.evaluation.finite import refuse_broken
from mpma_lightning.evaluation.metric import Scores, with_interval
from mpma_lightning.evaluation.samples import SampleTable
from mpma_lightning.heads.linear_head import linear_head
from mpma_lightning.objectives.labels import label_loss
from mpma_lightning.tasks.base import Step
from mpma_lightning.tasks.labelled import LabelledTask


class ClassificationTask(LabelledTask):
    """Fine-tuning; classes come from the data, and with ``ckpt_path`` from the checkpoint.

    ``validate`` and ``test`` match classes by name and score those the data and the head share, so a model trained on
    one data set is tested on another. F1 takes the threshold of each class that was best on validation, stored with
    the weights; without validation 0.5. Names for ``optim.scale``: ``head``, ``backbone.image``; ``backbone`` as the
    protocol has it.

    Args:
        protocol: ``cls-finetune-benchx`` or ``cls-finetune-mrm``: decides LayerNorm before the head, the head's
            initialisation, the encoder's learning rate and drop-path; the result record carries it. ``cls-multimodal``
            for ``input`` of any kind.
    """

    monitor = AUROC

    def __init__(self, *, protocol: str = "cls-finetune-benchx", **common: Any) -> None:
        super().__init__(protocol=protocol, **common)
        self.optim = replace(self.optim, scale={"backbone": self.fixed.encoder_lr, **self.optim.scale})
        if self.fixed.drop_path:
            options = {**(self.spec.image.options or {}), "drop_path_rate": self.fixed.drop_path}
            self.spec = replace(self.spec, image=replace(self.spec.image, options=options))

    def build_head(self) -> None:
        self.head = linear_head(self.feature_width, len(self.classes), self.fixed)
        self.register_buffer("thresholds", torch.full((len(self.classes),), 0.5))

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

    def predict(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Ids and a score a class."""
        return self.named_scores(batch["id"], self.likelihoods(self.head(self.features(batch))))
