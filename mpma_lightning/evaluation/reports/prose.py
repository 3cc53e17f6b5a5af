"""From word-pieces back to a report that a person would write."""

import re

_JOINED = (
    (re.compile(r"(\d) \. (\d)"), r"\1.\2"),
    (re.compile(r"\s+([.,;:!?%)\]])"), r"\1"),
    (re.compile(r"([(\[])\s+"), r"\1"),
    (re.compile(r"(\w) ([-/']) (\w)"), r"\1\2\3"),
)
_AFTER_A_STOP = re.compile(r"(?<=[.!?]\s)[a-z]")


def prose(words: str, begins: bool = True) -> str:
    """Words and punctuation that are joined by single spaces, as a text with capitals at the beginnings of sentences.

    Args:
        words: as ``Tokenizer.decode`` gives them.
        begins: whether the first word begins a sentence.
    """
    for pattern, joined in _JOINED:
        words = pattern.sub(joined, words)
    text = _AFTER_A_STOP.sub(lambda match: match.group().upper(), words)
    return text[:1].upper() + text[1:] if begins else text
