"""Texts written from labels, for samples that have labels and no text: a sentence for every known label."""

from collections.abc import Sequence
from functools import lru_cache
from random import Random

import numpy as np
import pandas as pd

from data_modules.errors import UserError
from data_modules.index.groups import connected_groups
from data_modules.index.hashing import stable_hash
from data_modules.text.tokenizer import TextOptions

TEXT_FROM_LABELS = "text_from_labels"
"""Column of the index: whether the text of a row is written from its labels."""
PRESENT = ("{X}.", "Findings of {x}.", "Positive for {x}.", "The image shows {x}.")
ABSENT = ("No {x}.", "No evidence of {x}.", "Negative for {x}.", "The image shows no {x}.")
NORMAL = ("No abnormality.", "Normal image.", "The image is normal.")
NOT_NORMAL = ("There is an abnormality.", "Abnormal image.", "The image is not normal.")
WITHOUT_FINDING = ("no finding", "normal")
"""Classes that say that nothing is found."""


@lru_cache
def wordings(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sentences for the presence and for the absence of a class such as ``Pleural_Thickening``."""
    plain = " ".join(name.replace("_", " ").split())
    words = " ".join(word if word[1:] != word[1:].lower() else word.lower() for word in plain.split())
    if words.lower() in WITHOUT_FINDING:
        return NORMAL, NOT_NORMAL
    present, absent = (
        tuple(sentence.format(x=words, X=words[:1].upper() + words[1:]) for sentence in sentences)
        for sentences in (PRESENT, ABSENT)
    )
    return present, absent


def _fitting(name: str, value: float) -> tuple[str, ...]:
    present, absent = wordings(name)
    return present if value == 1 else absent


def written(names: Sequence[str], labels: Sequence[float] | np.ndarray, seed: int | None) -> str:
    """A sentence for every known label, in a random order and wording that ``seed`` alone decides.

    Args:
        names: of the K classes.
        labels: (K,) 1, 0 or NaN for unknown.
        seed: of the draw; None: the first wording of each, in the order of ``names``.

    Returns:
        The text; empty if no label is known.
    """
    known = [(name, value) for name, value in zip(names, labels, strict=True) if not np.isnan(value)]
    if seed is None:
        return " ".join(_fitting(name, value)[0] for name, value in known)
    draw = Random(stable_hash("text from labels", seed))
    draw.shuffle(known)
    return " ".join(draw.choice(_fitting(name, value)) for name, value in known)


def write_texts(frame: pd.DataFrame, names: Sequence[str], who: str) -> tuple[pd.DataFrame, int]:
    """``frame`` with a text for every row without one, and the number of rows left out, which have no known label.

    The texts are those of ``written`` without a seed, so that samples with the same labels have the same text and are
    positives of each other; the samples themselves are worded anew by their seeds.

    Raises:
        UserError: the data have no labels, or every row has a text of its own.
    """
    if not set(names) & set(frame):
        raise UserError(f"{who}: data.text.from_labels is true, but the data have no labels to write texts from; leave "
                        "it out, or choose data with labels")  # fmt: skip
    own = frame["text"].fillna("").str.strip() if "text" in frame else pd.Series("", frame.index)
    lacking = own == ""
    if not lacking.any():
        raise UserError(
            f"{who}: data.text.from_labels is true, but all {len(frame):,} samples have texts of their own; leave it "
            "out"
        )
    labels = np.array(frame.reindex(columns=list(names)), dtype=np.float32)
    texts = [written(names, row, None) if lack else text for row, lack, text in zip(labels, lacking, own, strict=True)]
    frame = frame.assign(text=texts, **{TEXT_FROM_LABELS: lacking})
    frame = frame[frame["text"] != ""]
    return frame.assign(group=connected_groups(frame, ("study", "text"))), int(len(texts) - len(frame))


def lesson(names: Sequence[str], options: TextOptions) -> tuple[list[str], list[str]]:
    """Texts and patients from which a tokeniser learns every word of every wording, whatever ``min_count`` is."""
    every = " ".join(sentence for name in names for side in wordings(name) for sentence in side)
    return [every] * options.min_count, [f"wording {number}" for number in range(options.min_count)]
