"""Faulty records of a public data set: a few are dropped and counted, many mean that the file is a wrong one."""

from collections.abc import Callable, Sequence

from data_modules.errors import UserError

SHARE = 0.01
"""Largest share of faulty records; one faulty record is accepted in a set of any size."""
Drop = Callable[[str, int], None]
"""Counts samples that are left out, by reason."""


def refuse_many(problems: Sequence[str], total: int) -> None:
    """UserError with the first of ``problems`` (one message a faulty record, with file and row).

    Raised where all of ``total`` records are faulty, or more than one and more than 1 %.
    """
    if problems and (len(problems) > max(1, SHARE * total) or len(problems) == total):
        more = f" ({len(problems):,} of {total:,} such records)" if len(problems) > 1 else ""
        raise UserError(problems[0] + more)


def few(problems: Sequence[str], total: int, kind: str, drop: Drop) -> None:
    """Count ``problems`` as samples that are dropped for the reason ``kind``; errors of :func:`refuse_many`."""
    refuse_many(problems, total)
    drop(kind, len(problems))
