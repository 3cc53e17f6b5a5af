"""The sentences of a batch of reports, each distinct one once, as queries of its patches."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from data_modules.index.words import normalise
from data_modules.text.sentences import sentences
from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.backbones import Backbone
from mpma_lightning.objectives.words import whole_words

_NEGATED = re.compile(r"\b(no|not|without|nor|neither|free of|negative for|absent|resolved|clear)\b", re.IGNORECASE)


def is_negated(sentence: str) -> bool:
    """Whether a sentence of a report says that something is absent, by its words."""
    return _NEGATED.search(sentence) is not None


@dataclass
class Sentences:
    """S distinct sentences of B reports. Two are the same if their letters and digits are.

    Attributes:
        input_ids, attention_mask, word_ids: (S, T) of each sentence by itself.
        negated: (S,) bool, see :func:`is_negated`.
        slot: (B, M) index of the sentences of each report, in their order; -1 where it has fewer than M.
    """

    input_ids: Tensor
    attention_mask: Tensor
    word_ids: Tensor
    negated: Tensor
    slot: Tensor

    @staticmethod
    def of(texts: Sequence[str], tokenizer: Tokenizer, longest: int, device: torch.device | str) -> "Sentences":
        """Split and tokenise reports; sentences without a word are left out. If there is none, an empty one, which no
        report has, stands in for S = 0.

        Args:
            texts: B reports.
            tokenizer: of the text encoder.
            longest: word-pieces kept of a sentence, special tokens included.
            device: of the tensors.
        """
        found: dict[str, tuple[int, list[list[int]]]] = {}
        negated: list[bool] = []
        slots: list[list[int]] = []
        for text in texts:
            own: dict[int, None] = {}
            for sentence in sentences(text):
                key = normalise(sentence)
                if key not in found:
                    length = min(2 + len(sentence), longest)
                    encoded = [list(column) for column in tokenizer.encode(sentence, length)]
                    if max(encoded[2]) < 0:
                        continue
                    found[key] = (len(found), encoded)
                    negated.append(is_negated(sentence))
                own[found[key][0]] = None
            slots.append(list(own))
        if not found:
            found[""] = (0, [list(column) for column in tokenizer.encode("", 2)])
            negated.append(False)
        width = max(sum(encoded[1]) for _, encoded in found.values())
        padding = (tokenizer.pad_id, 0, -1)
        ids, mask, owners = (
            torch.tensor([(encoded[i] + [empty] * width)[:width] for _, encoded in found.values()], device=device)
            for i, empty in enumerate(padding)
        )
        most = max(map(len, slots), default=0)
        slot = torch.tensor([own + [-1] * (most - len(own)) for own in slots], dtype=torch.long, device=device)
        absent = torch.tensor(negated, device=device)
        return Sentences(ids, mask, owners, absent, slot.view(len(texts), most))

    def queries(self, backbone: Backbone) -> Tensor:
        """(S, e) normalised: of each sentence the mean of its words, as the maps of phrases read it."""
        tokens = backbone.text(self.input_ids, self.attention_mask).tokens
        words = whole_words(backbone, tokens, self.input_ids, self.word_ids)
        return F.normalize((words.embeddings * words.valid.unsqueeze(-1)).sum(1), dim=-1)
