"""The command line as a program of its own, its output in a file."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

PROGRAM = [sys.executable, "-m", "mpma_lightning"]
LOG = "log.txt"


def start(
    words: Sequence[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    inherited: Sequence[int] = (),
) -> subprocess.Popen:
    """Start ``python -m mpma_lightning`` with ``words``.

    Args:
        words: the subcommand and its arguments.
        log: what the command prints is added to it.
        environment: of the command; None: that of this process.
        folder: its working directory; None: that of this process.
        inherited: file descriptors that stay open in the command.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        return subprocess.Popen(
            [*PROGRAM, *words],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=dict(os.environ if environment is None else environment),
            cwd=folder,
            pass_fds=inherited,
        )


def killed_by(code: int) -> int | None:
    """The signal that ended a command, also where it left in order, as a command does at SIGTERM."""
    return -code if code < 0 else signal.SIGTERM.value if code == 128 + signal.SIGTERM else None


def last_error(log: Path) -> str | None:
    """The last line of ``log`` that says ``error: …``, without that word."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-50:] if log.is_file() else []
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return errors[-1] if errors else None
