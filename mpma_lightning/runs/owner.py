"""One process at a time writes into a run folder."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import ENOLCK, ENOSYS, EOPNOTSUPP
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from data_modules.errors import UserError
from data_modules.files import unwritable, write_whole

LOCK, OWNER = ".lock", ".owner.json"
_NO_LOCKS = (ENOLCK, ENOSYS, EOPNOTSUPP)
_RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
"""Variables of launchers; only in the process of global rank 0 each of them is 0 or absent."""
_PATIENCE = 30.0
"""Seconds to wait for the data workers of a killed run: they share its lock until they notice that it has ended."""


@contextmanager
def owned(run: Path) -> Iterator[None]:
    """While this context lasts, no other process can own the folder ``run``; the folder is made if it is absent.

    Of the several processes of one run, only rank 0 takes the lock. The kernel releases it when the process ends, even
    if it is killed. On a disk without locks, a file that names the process is used instead.

    Raises:
        UserError: another process owns the folder (it names the process, host and time), or it cannot be written.
    """
    if any(os.environ.get(name, "0") not in ("0", "") for name in _RANKS):
        yield
        return
    try:
        run.mkdir(parents=True, exist_ok=True)
        lock = _take(run)
    except OSError as error:
        raise unwritable(run / LOCK, error) from None
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        write_whole(run / OWNER, json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}) + "\n")
        yield
    finally:
        with suppress(OSError):
            (run / OWNER).unlink(missing_ok=True)
        lock.release()


def _take(run: Path) -> BaseFileLock:
    """The lock of ``run``. Waits while the process that holds it has not written its name yet, or has ended and left
    data workers."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        with suppress(Timeout):
            return _acquired(run)
        owner = _owner(run)
        if (owner and not _is_gone(owner)) or time.monotonic() > deadline:
            who = f"process {owner.get('pid', '?')} on {owner.get('host', '?')}, since {owner.get('since', '?')}"
            raise UserError(
                f"{run} is being written by another fit ({who}): wait for it or stop it, or choose "
                "--trainer.default_root_dir OTHER"
            )
        time.sleep(0.2)


def _acquired(run: Path) -> BaseFileLock:
    """The kernel's lock, or a lock file where the disk has no locks; Timeout where another process holds it."""
    lock: BaseFileLock = FileLock(run / LOCK)
    try:
        lock.acquire(timeout=0)
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:  # a Timeout has no errno
            raise
        lock = SoftFileLock(run / f"{LOCK}.soft")
        lock.acquire(timeout=0)
    return lock


def _owner(run: Path) -> dict[str, Any]:
    try:
        content = json.loads((run / OWNER).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_gone(owner: dict[str, Any]) -> bool:
    """Whether ``owner`` names a process of this machine that has ended."""
    pid = owner.get("pid")
    if owner.get("host") != socket.gethostname() or not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return False
