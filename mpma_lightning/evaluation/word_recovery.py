"""Whether fusion reads the image: masked finding words, predicted with the own image and with another patient's."""

from collections.abc import Mapping

import torch
from torch import Tensor

from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.evaluation.epoch import RunningMeans
from mpma_lightning.evaluation.metric import Metric, Scores, reference


def finding_word_pieces(input_ids: Tensor, word_ids: Tensor, tokenizer: Tokenizer, words: frozenset[str]) -> Tensor:
    """(B, T) bool: word-pieces of one of ``words``."""
    found = torch.zeros_like(input_ids, dtype=torch.bool)
    for row, (ids, owners) in enumerate(zip(input_ids.tolist(), word_ids.tolist(), strict=True)):
        spelled: dict[int, list[int]] = {}
        for piece, owner in zip(ids, owners, strict=True):
            if owner >= 0:
                spelled.setdefault(owner, []).append(piece)
        hits = {owner for owner, pieces in spelled.items() if tokenizer.decode(pieces).lower() in words}
        found[row] = torch.tensor([owner in hits for owner in owners])
    return found


def other_patient(patients: list[str]) -> Tensor | None:
    """(B,) index of a sample of another patient, half a batch away if possible; None if all are of one patient."""
    count = len(patients)
    partners = []
    for i, patient in enumerate(patients):
        turn = ((i + count // 2 + step) % count for step in range(count))
        partner = next((j for j in turn if patients[j] != patient), None)
        if partner is None:
            return None
        partners.append(partner)
    return torch.tensor(partners)


METRICS = (
    Metric("finding_word_accuracy", unit="share"),
    reference("finding_word_accuracy_shuffled_image"),
    Metric("finding_word_gap", unit="share", headline=True, baseline=0.0),
    reference("memory_contribution", "ratio"),
    reference("slot_entropy"),
)


class WordRecoveryEvaluator:
    """Accuracy at masked finding words with the own and with another patient's image, and their difference."""

    def __init__(self) -> None:
        self._means = RunningMeans()

    def add(self, truth: Tensor, own: Tensor, other: Tensor, memory: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Add a batch with M masked word-pieces.

        Args:
            truth: (M,) ids of the pieces.
            own, other: (M,) predictions with the own image and with the other one.
            memory: ``memory_contribution`` and ``slot_entropy`` as (sum, count); empty without slots.
        """
        count = torch.tensor(len(truth))
        right, shuffled = (own == truth).sum(), (other == truth).sum()
        self._means.update("finding_word_accuracy", right, count)
        self._means.update("finding_word_accuracy_shuffled_image", shuffled, count)
        self._means.update("finding_word_gap", right - shuffled, count)
        for name, pair in memory.items():
            self._means.update(name, *pair)

    def compute(self) -> Scores:
        """Means over all ranks, and start afresh; empty without a masked finding word. A collective."""
        means = self._means.compute()
        return {metric: means[metric.name] for metric in METRICS if metric.name in means}
