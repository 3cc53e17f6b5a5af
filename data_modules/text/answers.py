"""Answers of visual questions: normal form, vocabulary, majority answers, near-duplicate questions."""

from collections.abc import Iterable
from difflib import SequenceMatcher

import pandas as pd

YES_NO = ("yes", "no")
TYPES = ("OPEN", "CLOSED")
BETWEEN = " | "
"""Stands between several answers of one question."""
TWIN = 0.85
"""difflib ratio from which two questions count as the same."""


def normalise_answer(answer: object) -> str:
    """Lower case, white space (tabs too) to single spaces, no full stop at the end; numbers become text."""
    return " ".join(str(answer).lower().split()).rstrip(". ")


def join_answers(answers: Iterable[str], ordered: bool = False) -> str:
    """Several answers as one text, sorted unless ``ordered``; blank and repeated ones are left out."""
    known = list(dict.fromkeys(" ".join(answer.replace("|", "/").split()) for answer in answers if answer))
    return BETWEEN.join(known if ordered else sorted(known))


def split_answers(joined: str) -> list[str]:
    """Inverse of :func:`join_answers`."""
    return joined.split(BETWEEN) if joined else []


def guess_types(answers: pd.Series) -> pd.Series:
    """CLOSED for yes and no, else OPEN: for sources without types. Wrong for closed choices such as left or right."""
    return answers.isin(YES_NO).map({True: "CLOSED", False: "OPEN"})


def vocabulary(frame: pd.DataFrame, splits: tuple[str, ...]) -> list[str]:
    """The distinct answers of ``splits``, sorted; several of one question one by one."""
    joined = frame.loc[frame["split"].isin(splits), "answer"].unique()
    return sorted({answer for several in joined for answer in split_answers(several)})


def majority_answers(train: pd.DataFrame, one_by_one: bool = False) -> dict[str, str]:
    """The most frequent answer of each answer type; of equally frequent ones the first in the alphabet.

    Several answers of a question are one answer, or, with ``one_by_one``, several.
    """
    given = train[["answer_type", "answer"]]
    if one_by_one:
        given = given.assign(answer=given["answer"].map(split_answers)).explode("answer")
    return {
        str(kind): str(rows["answer"].value_counts().sort_index().idxmax())
        for kind, rows in given.groupby("answer_type")
    }


def contrasted(frame: pd.DataFrame) -> pd.Series:
    """Whether the same question (case and punctuation ignored) has another answer on another image, so that the
    question alone does not determine the answer."""
    question = frame["text"].str.lower().str.replace(r"\W+", " ", regex=True).str.strip()
    return frame.groupby(question)["answer"].transform("nunique") > 1


def twins(test: pd.DataFrame, train: pd.DataFrame) -> pd.Series:
    """The question of ``train`` that is most similar to each row of ``test``, in lower case.

    It is on the same image (``patient``) and has the same answer; None where none is at least 0.85 similar.
    """
    known = train["text"].str.lower().groupby([train["patient"], train["answer"]]).agg(list).to_dict()

    def twin(image: str, answer: str, question: str) -> str | None:
        near = known.get((image, answer), [])
        ratios = ((SequenceMatcher(None, question.lower(), other).ratio(), other) for other in near)
        ratio, other = max(ratios, default=(0.0, ""))
        return other if ratio >= TWIN else None

    rows = zip(test["patient"], test["answer"], test["text"], strict=True)
    return pd.Series([twin(*row) for row in rows], index=test.index, dtype=object)
