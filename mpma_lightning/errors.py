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
