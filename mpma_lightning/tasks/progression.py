"""Progression: for each finding, whether it is better, the same or worse than in the prior image."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from data_modules.errors import UserError
from mpma_lightning.evaluation.metric import Scores
from mpma_lightning.evaluation.progression import MACRO_ACCURACY, PROGRESSION_ACCURACY, ProgressionScores
from mpma_lightning.evaluation.samples import SampleTable
from mpma_lightning.objectives.labels import label_loss
from mpma_lightning.precision import full
from mpma_lightning.tasks.classification import ClassificationTask

STATES = ("improving", "stable", "worsening")


class ProgressionTask(ClassificationTask):
    """Fine-tunes a backbone with a head of three outputs a finding, one for each of improving, stable and worsening.

    The head reads the pooled image and, where the data have a prior, the difference of the pooled image and prior. The
    data's classes are named ``<finding> <state>``; a finding whose states are all unknown does not count for a sample.
    The majority beside the scores is the most frequent state of each finding in training.

    Args:
        protocol: ``cls-progression``.
    """

    monitor = MACRO_ACCURACY
    selectable = (PROGRESSION_ACCURACY,)
    reads_labels = False  # the data then ask for every state of every finding in validation

    def __init__(self, *, protocol: str = "cls-progression", **common: Any) -> None:
        super().__init__(protocol=protocol, **common)

    @property
    def findings(self) -> list[str]:
        """Names of the F findings, in the order of the outputs."""
        return [name.removesuffix(f" {STATES[0]}") for name in self.classes[:: len(STATES)]]

    def build_heads(self) -> None:
        super().build_heads()
        self.majority = self._majority() if self.trainer.state.fn == "fit" else [0] * len(self.findings)

    def build_head(self) -> None:
        if self.classes != [f"{finding} {state}" for finding in self.findings for state in STATES]:
            raise UserError(
                f"{self.data_spec.name} has the classes {', '.join(self.classes[:4])}; expected three for each "
                f"finding, such as Edema {', Edema '.join(STATES)}: take MSCXRTDataModule"
            )
        super().build_head()

    def _majority(self) -> list[int]:
        positives = self.data_spec.train_positives
        counts = [[positives.get(f"{finding} {state}", 0) for state in STATES] for finding in self.findings]
        return [int(np.argmax(row)) for row in counts]

    def head_entries(self) -> dict[str, Any]:
        return super().head_entries() | {"majority": self.majority}

    def take_head(self, known: dict[str, Any]) -> None:
        super().take_head(known)
        self.majority = list(known["majority"])

    def by_finding(self, values: Tensor) -> Tensor:
        """(B, F, 3) of (B, 3 F)."""
        return values.unflatten(-1, (-1, len(STATES)))

    def likelihoods(self, logits: Tensor) -> Tensor:
        """(B, 3 F) probabilities; the three of a finding add up to 1."""
        return self.by_finding(full(logits)).softmax(-1).flatten(-2)

    def label_loss(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        flat_logits, flat_labels = (self.by_finding(values).flatten(0, 1) for values in (logits, labels))
        return label_loss(flat_logits, flat_labels, exclusive=True)

    def score(self, rows: dict[str, np.ndarray], stage: str) -> Scores:
        labels, scores = (self.by_finding(torch.from_numpy(rows[name])) for name in ("labels", "scores"))
        known = labels.nan_to_num().sum(-1) == 1
        truth = labels.nan_to_num().argmax(-1).where(known, -1).numpy()
        found = ProgressionScores(
            self.findings, truth, scores.argmax(-1).numpy(), np.array(self.majority), rows["patient"]
        )
        if stage == "test":
            ratios = {PROGRESSION_ACCURACY: found.parts}
            self.samples = SampleTable(rows["id"], rows["patient"], ratios=ratios)
        return found.scores(interval=stage == "test")
