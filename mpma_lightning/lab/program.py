"""Commands of this package, each in a process forked from one that has imported everything, its output in a file."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

LOG = "log.txt"
SERVER = [sys.executable, "-m", "mpma_lightning.lab.warm"]
_LOCK = Lock()
_SERVERS: dict[tuple[str, ...], tuple[subprocess.Popen, socket.socket]] = {}
"""By command, folder and number of threads, which torch reads when it is imported."""


class Command:
    """A command that runs.

    Attributes:
        pid: of its process.
    """

    def __init__(self, talk: socket.socket) -> None:
        self._lines = talk.makefile("r")
        self.pid = self._number(0)

    def wait(self) -> int:
        """Its exit status; ``-number`` where a signal ended it. For one thread, once."""
        with self._lines:
            return self._number(-signal.SIGKILL) if self.pid else 1  # nothing to fork from; the log says why

    def _number(self, otherwise: int) -> int:
        """The next line; ``otherwise`` where the other side is gone."""
        try:
            return int(self._lines.readline() or otherwise)
        except ConnectionError:
            return otherwise

    def terminate(self) -> None:
        """Ask it to end, as SIGTERM does."""
        with suppress(ProcessLookupError):
            if self.pid:
                os.kill(self.pid, signal.SIGTERM)


def start(
    words: Sequence[str], log: Path, environment: Mapping[str, str], folder: Path, held: int | None = None
) -> Command:
    """Start what ``python -m mpma_lightning`` does with ``words``.

    Args:
        words: the subcommand and its arguments.
        log: what the command prints is added to it.
        environment: of the command.
        folder: its working directory.
        held: a file descriptor that stays open in the command.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch()
    folder = folder.absolute()
    mine, theirs = socket.socketpair()
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        with mine, theirs, _LOCK:
            _hand_over(log, environment, folder, [theirs.fileno(), null if held is None else held])
            theirs.close()
            request = {"words": list(words), "log": str(log.absolute()), "folder": str(folder)}
            with suppress(BrokenPipeError), mine.makefile("w") as lines:
                print(json.dumps({**request, "environment": dict(environment)}), file=lines)
            return Command(mine)
    finally:
        os.close(null)


def _hand_over(log: Path, environment: Mapping[str, str], folder: Path, descriptors: list[int]) -> None:
    """Send ``descriptors`` to the process that commands of this folder and number of threads are forked from."""
    key = (*SERVER, str(folder), environment.get("OMP_NUM_THREADS", ""))
    known = _SERVERS.get(key)
    if known is None or known[0].poll() is not None:
        _SERVERS[key] = known = _serving(log, environment, folder)
    socket.send_fds(known[1], [b"."], descriptors)


def _serving(log: Path, environment: Mapping[str, str], folder: Path) -> tuple[subprocess.Popen, socket.socket]:
    mine, theirs = socket.socketpair()
    with theirs, log.open("ab") as out:
        end = theirs.fileno()
        return subprocess.Popen(SERVER, stdin=end, stdout=out, stderr=out, env=environment, cwd=folder), mine


def killed_by(code: int) -> int | None:
    """The signal that ended a command, also where it left in order, as a command does at SIGTERM."""
    return -code if code < 0 else signal.SIGTERM.value if code == 128 + signal.SIGTERM else None


def last_error(log: Path) -> str | None:
    """The last line of ``log`` that says ``error: …``, without that word."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-50:] if log.is_file() else []
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return errors[-1] if errors else None
