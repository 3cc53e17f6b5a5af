"""Mistakes a user can mend: one line each, printed without a traceback, with the nearest right spelling."""

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
    """UserError unless ``holds``: for what a user may set and the type alone does not rule out.

    Args:
        holds: whether the value will do.
        name: of the argument, as it is written in a config.
        found: the value.
        expected: in words.
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
    """:func:`nearest`, or else the list of what there is, shortened."""
    known = sorted(set(words))
    near = nearest(word, known)
    if near or not known:
        return near
    more = ", …" if len(known) > _LISTED_AT_MOST else ""
    return f"; there is: {', '.join(known[:_LISTED_AT_MOST])}{more}"
