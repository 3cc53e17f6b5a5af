"""Words of a text, and the form in which two texts are equal."""

import re

_WORD = re.compile(r"[^\W_]+")
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
"""Kana and Han characters."""
_COUNTED = re.compile(f"[{_UNSPACED}]|[^\\W_{_UNSPACED}]+")


def normalise(text: str) -> str:
    """Form in which two texts count as equal: lower-case letters and digits, single spaces."""
    return " ".join(_WORD.findall(text.lower()))


def count_words(text: str) -> int:
    """Runs of letters and digits; in Chinese and Japanese, which set no spaces, every character."""
    return len(_COUNTED.findall(text))
