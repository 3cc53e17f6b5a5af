"""Faulty records of a public data set: a few are left out and counted, many mean that the file is another one."""

from collections.abc import Callable, Sequence

from data_modules.errors import UserError

SHARE = 0.01
"""Of the records that may be faulty; one record may be in a set of any size."""
Drop = Callable[[str, int], None]


def few(problems: Sequence[str], total: int, kind: str, drop: Drop) -> None:
    """Count ``problems`` as samples left out because of ``kind``.

    Args:
        problems: one message a faulty record, with file and row.
        total: records there are.
        kind: the reason, for the summary line.
        drop: counts samples by reason.

    Raises:
        UserError: the first problem, where more than one record and more than 1 % are faulty, or all are.
    """
    if problems and (len(problems) > max(1, SHARE * total) or len(problems) == total):
        more = f" ({len(problems):,} of {total:,} such records)" if len(problems) > 1 else ""
        raise UserError(problems[0] + more)
    drop(kind, len(problems))
