"""The one exception for mistakes a user can mend: its message is one line and is printed without a traceback."""

import re


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
