"""The base of visual question answering data sets: vocabulary, majority answers, and the best accuracy possible."""

from typing import Any

import pandas as pd

from data_modules.base import DataModule
from data_modules.contract import DataSpec
from data_modules.text.answers import contrasted, majority_answers, vocabulary
from data_modules.text.tokenizer import TextOptions

QUESTION_TEXT = TextOptions(max_tokens=32, min_tokens=1)


class VQADataModule(DataModule):
    """``read_index`` gives, beside the usual columns, answer, answer_type (OPEN, CLOSED) and question_type.

    ``text`` is the question, and the image counts as the ``patient``: no image is in two splits unless the protocol
    allows it. Answers are in the normal form of ``normalise_answer``.
    """

    protocol: str
    """Id of the evaluation protocol: the splits and the vocabulary."""
    vocabulary_splits: tuple[str, ...] = ("train",)

    def __init__(self, text: TextOptions = QUESTION_TEXT, **common: Any) -> None:
        super().__init__(text=text, **common)

    def check_rows(self, rows: pd.DataFrame) -> pd.DataFrame:
        frame = super().check_rows(rows)
        return frame.assign(contrasted=contrasted(frame))

    def _make_spec(self, counts: dict[str, int], digest: str) -> DataSpec:
        spec = super()._make_spec(counts, digest)
        if self.index is None:
            return spec
        spec.protocol = self.protocol
        spec.answers = vocabulary(self.index, self.vocabulary_splits)
        spec.majority_answers = majority_answers(self.index[self.index["split"] == "train"])
        test = self.index[self.index["split"] == "test"]
        outside = ~test["answer"].isin(spec.answers)
        closed = test["answer_type"] == "CLOSED"
        spec.notes.append(
            f"vocabulary: {len(spec.answers):,} answers of {'+'.join(self.vocabulary_splits)}; {int(outside.sum()):,} "
            f"of {len(test):,} test answers are missing ({int((outside & ~closed).sum()):,} open, "
            f"{int((outside & closed).sum()):,} closed): counted wrong, the ceiling is "
            f"{1 - outside.mean() if len(test) else float('nan'):.1%}"
        )
        return spec
