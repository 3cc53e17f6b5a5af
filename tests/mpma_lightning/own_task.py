"""A task of one's own, for a test: a number a sample from the image, with a metric in its unit."""

from typing import Any

import numpy as np
import torch
from torch import nn

from mpma_lightning.evaluation.metric import Metric, Scores
from mpma_lightning.heads.linear_head import linear_head
from mpma_lightning.tasks.base import Step
from mpma_lightning.tasks.named_outputs import NamedOutputsTask

AGE_ERROR = Metric("age_error", higher_is_better=False, unit="error", headline=True)


class AgeTask(NamedOutputsTask):
    """Regression of the column ``target``, from its mean over the training samples."""

    protocol = "age"
    monitor = AGE_ERROR
    outputs = "targets"
    head_title = "age head"

    @property
    def parts(self) -> tuple[str, ...]:
        return ("image",)

    def annotated(self) -> list[str]:
        return [name for name in ("target",) if name in self.data_spec.passed_on]

    def build_head(self) -> None:
        self.head = linear_head(self.backbone.image.width, len(self.classes), norm=True)
        if self.trainer.state.fn == "fit":
            nn.init.constant_(self.head[1].bias, float(self.training_rows["target"].mean()))

    def predicted(self, batch: dict[str, Any]) -> torch.Tensor:
        """(B,) years."""
        return self.head(self.backbone.image(self.images(batch)).pooled)[:, 0]

    def step(self, batch: dict[str, Any], stage: str) -> Step:
        years, target = self.predicted(batch), batch["target"]
        if stage != "train":
            self.check_finite(predicted=years)
            self.keep(batch, predicted=years, target=target)
        known = ~target.isnan()
        return {"age_loss": ((years - target)[known].abs().sum(), known.sum().float())}

    def score(self, rows: dict[str, np.ndarray], stage: str) -> Scores:
        return {AGE_ERROR: float(np.nanmean(np.abs(rows["predicted"] - rows["target"])))}

    def predict(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"id": batch["id"], "age": self.predicted(batch)}
