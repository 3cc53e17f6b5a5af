"""Words of a text, and the form in which two texts are equal."""

import re

_WORD = re.compile(r"[^\W_]+")


def normalise(text: str) -> str:
    """Form in which two texts count as equal: lower-case letters and digits, single spaces."""
    return " ".join(_WORD.findall(text.lower()))


def count_words(text: str) -> int:
    """Runs of letters and digits."""
    return len(_WORD.findall(text))
