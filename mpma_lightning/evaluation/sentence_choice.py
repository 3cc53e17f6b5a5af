"""Whether a sentence finds its own image again, by the patches it attends to: positive sentences apart from negated."""

import torch
from torch import Tensor

from mpma_lightning.evaluation.epoch import RunningMeans
from mpma_lightning.evaluation.metric import Metric, Scores
from mpma_lightning.evaluation.sentences import Sentences
from mpma_lightning.objectives.local_scores import context_cosines

CHOICE = Metric("sentence_choice", unit="share")
TEMPERATURE = 0.1


class SentenceChoiceEvaluator:
    """Share of sentences that score their own image above another patient's whose report lacks them; chance is 0.5."""

    def __init__(self) -> None:
        self._means = RunningMeans()

    @torch.no_grad()
    def add(self, sentences: Sentences, queries: Tensor, patches: Tensor, partner: Tensor) -> None:
        """Add a batch of B reports and images.

        Args:
            sentences: of the reports.
            queries: (S, e) normalised, of the distinct sentences.
            patches: (B, K, e) normalised.
            partner: (B,) the image of another patient that each image is compared with.
        """
        scores = context_cosines(queries, patches, TEMPERATURE).T
        slot = sentences.slot
        report = torch.arange(len(slot), device=slot.device).unsqueeze(1).expand_as(slot)
        lacks = (slot.unsqueeze(2) != slot[partner].unsqueeze(1)).all(2)
        fair = (slot >= 0) & lacks
        own, other = scores[slot[fair], report[fair]], scores[slot[fair], partner[report[fair]]]
        right = (own > other).double() + 0.5 * (own == other)
        negated = sentences.negated[slot[fair]]
        for name, chosen in (("positive", ~negated), ("negated", negated)):
            self._means.update(name, right[chosen].sum(), chosen.sum())

    def compute(self) -> Scores:
        """Over all ranks, by kind of sentence; a collective."""
        return {CHOICE.of(name): value for name, value in self._means.compute().items()}
