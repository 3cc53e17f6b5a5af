"""Does fusion carry vision? Masked finding words, predicted with the own image and with another patient's."""

import torch
from torch import Tensor

from data_modules.text.tokenizer import Tokenizer


def finding_word_pieces(input_ids: Tensor, word_ids: Tensor, tokenizer: Tokenizer, words: frozenset[str]) -> Tensor:
    """(B, T) bool: pieces that belong to one of ``words``."""
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
    """For each sample the index of one of another patient, half a batch away if possible; ``None`` with one patient."""
    count = len(patients)
    partners = []
    for i, patient in enumerate(patients):
        turn = ((i + count // 2 + step) % count for step in range(count))
        partner = next((j for j in turn if patients[j] != patient), None)
        if partner is None:
            return None
        partners.append(partner)
    return torch.tensor(partners)
