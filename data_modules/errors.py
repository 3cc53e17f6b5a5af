"""Errors that a user can correct: one line each, printed without a traceback, with the nearest valid spelling."""

import difflib
import re
from collections.abc import Iterable

_LISTED_AT_MOST = 14


class UserError(Exception):
    """What was found, what was expected, how to fix it, with the file's path and the row.

    A DataLoader worker re-raises an exception with its whole traceback as the message; only the
    original line is kept, so the same sentence reaches the user from any process.
    """

    def __init__(self, message: str) -> None:
        worker = re.search(r"^(?:[\w.]+\.)?UserError: (.*)", message, flags=re.MULTILINE | re.DOTALL)
        super().__init__(worker.group(1).strip() if worker else message)


def expect(holds: bool, name: str, found: object, expected: str) -> None:
    """Raise a UserError unless ``holds``: for settings whose type alone does not exclude invalid values.

    Args:
        holds: whether the value is valid.
        name: of the argument, as it is written in a config.
        found: the value.
        expected: the valid values, in words.
    """
    if not holds:
        raise UserError(f"{name} is {found}; expected {expected}")


class UsageError(UserError):
    """A command line or config file that cannot be read as written (exit code 2)."""


def nearest(word: str, words: Iterable[str]) -> str:
    """``; did you mean 'x'?`` with the word most like ``word``, or '' where none is near."""
    known = {candidate.lower(): candidate for candidate in words}
    found = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return f"; did you mean '{known[found[0]]}'?" if found else ""


def suggest(word: str, words: Iterable[str]) -> str:
    """:func:`nearest`, or, where no word is near, the first known words."""
    known = sorted(set(words))
    near = nearest(word, known)
    if near or not known:
        return near
    more = ", …" if len(known) > _LISTED_AT_MOST else ""
    return f"; there is: {', '.join(known[:_LISTED_AT_MOST])}{more}"
