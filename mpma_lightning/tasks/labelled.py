"""LabelledTask: the input and the outputs of classification heads."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from data_modules.contract import FURTHER_VIEWS
from data_modules.errors import UserError
from mpma_lightning.backbones import Features
from mpma_lightning.evaluation.classification import classification_scores, exclusive_scores
from mpma_lightning.evaluation.metric import Metric
from mpma_lightning.heads.linear_head import linear_head
from mpma_lightning.precision import full
from mpma_lightning.predictions.table import TableWriter
from mpma_lightning.protocols import label_protocol
from mpma_lightning.tasks.named_outputs import NamedOutputsTask


def change_since_prior(image: Features) -> Tensor:
    """(B, D) pooled feature of the views of the study less that of the prior one; 0 for a sample without a prior.

    The mean over all views would not tell what came first."""
    views = image.views
    if views is None:
        return torch.zeros_like(image.pooled)
    is_prior = (views.kinds == 1 + FURTHER_VIEWS.index("prior")).unsqueeze(-1).to(views.pooled.dtype)
    now = replace(views, kinds=views.kinds * (is_prior.squeeze(-1) == 0))
    before, having = (views.pooled * is_prior).sum(1), is_prior.sum(1)
    return (now.mean(views.first, views.pooled) - before) * having


class LabelledTask(NamedOutputsTask):
    """Classification from the pooled image, the pooled text, or both.

    Where samples may have a prior, the head also reads the difference of the pooled images of the study and the prior.

    Args:
        protocol: evaluation protocol, from ``mpma_lightning/protocols.py``.
        input: features that the head reads: the pooled ``image``, the pooled ``text``, or ``both``, after fusion.
        pool: how ``both`` pools the fused text: at the ``mask`` token, by the ``mean``, or at ``cls``.
    """

    head_title = "classification head"
    reads_labels = True
    reads_views = True

    def __init__(
        self,
        *,
        protocol: str,
        input: Literal["image", "text", "both"] = "image",
        pool: Literal["mask", "mean", "cls"] = "mask",
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.protocol, self.fixed = protocol, label_protocol(protocol, self.frozen, input)
        self.input, self.pool = input, pool
        self.exclusive = self.prior = False

    @property
    def parts(self) -> tuple[str, ...]:
        return ("fusion",) if self.input == "both" else (self.input,)

    @property
    def feature_width(self) -> int:
        """D of :meth:`features`."""
        image = 0 if self.input == "text" else self.backbone.image.width * (1 + self.prior)
        return image + (0 if self.input == "image" else self.backbone.text.width)

    def features(self, batch: dict[str, Any]) -> Tensor:
        """(B, D) input of the head."""
        if missing := [name for name in self.modalities if {"text": "input_ids"}.get(name, name) not in batch]:
            raise UserError(
                f"model.input is {self.input}, but the data have no {missing[0]}; correct model.input or data"
            )
        if self.input == "text":
            return self.backbone.text(batch["input_ids"], batch["attention_mask"]).pooled
        image = self.with_views(self.backbone.image(self.images(batch)), batch)
        change = [change_since_prior(image)] if self.prior else []
        if self.input == "image":
            return torch.cat([image.pooled, *change], dim=-1) if change else image.pooled
        fused = self.backbone.fused_representation(image, batch["input_ids"], batch["attention_mask"], self.pool)
        return torch.cat([fused, *change], dim=-1) if change else fused

    def build_heads(self) -> None:
        self.exclusive = self.data_spec.exclusive
        self.prior = "prior" in self.data_spec.views and self.input != "text"
        super().build_heads()

    def new_head(self) -> nn.Sequential:
        """(B, D) features to (B, K) logits, as the protocol says."""
        fixed = self.fixed
        return linear_head(
            self.feature_width,
            len(self.classes),
            norm=fixed.norm,
            norm_eps=fixed.norm_eps,
            init=fixed.init,
            init_std=fixed.init_std,
            zero_bias=fixed.zero_bias,
            two_outputs=self.two_outputs,
        )

    @property
    def two_outputs(self) -> bool:
        """Whether the one class has two outputs, as the protocol may say."""
        return self.fixed.two_outputs and len(self.classes) == 1 and not self.exclusive

    def head_entries(self) -> dict[str, Any]:
        return {"exclusive": self.exclusive} | ({"prior": True} if self.prior else {})

    def take_head(self, known: dict[str, Any]) -> None:
        self.exclusive, before = known["exclusive"], self.prior
        self.prior = known.get("prior", False)
        if self.prior != before:
            self.build_head()
        super().take_head(known)

    def likelihoods(self, logits: Tensor) -> Tensor:
        """(…, K) probabilities: softmax over exclusive classes, else sigmoid."""
        return full(logits).softmax(-1) if self.exclusive else full(logits).sigmoid()

    def class_metrics(self, labels: np.ndarray, scores: np.ndarray, thresholds: np.ndarray) -> dict[Metric, float]:
        """Metrics of (N, K) probabilities against labels; of exclusive classes also those of the likeliest class."""
        found = classification_scores(labels, scores, self.classes, thresholds)
        return found | (exclusive_scores(labels, scores) if self.exclusive else {})

    def named_scores(self, ids: list[str], scores: Tensor) -> dict[str, Any]:
        """Predictions with one column per class, from (B, K) scores."""
        return {"id": ids, **{name: scores[:, k] for k, name in enumerate(self.classes)}}

    def prediction_writer(self) -> TableWriter:
        return TableWriter("scores.parquet")

    def result_entries(self) -> dict[str, Any]:
        shared = sorted(self.shared().values())
        return {"classes": [self.classes[place] for place in shared], "input": self.input}
