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
"""All 0, or absent, in global rank 0 alone."""
_PATIENCE = 30.0
"""Seconds in which the data workers of a killed run, which hold its lock with it, notice that it is gone."""


@contextmanager
def owned(run: Path) -> Iterator[None]:
    """Hold ``run``, which is made, as its only writer. Of several processes of one run, rank 0 alone holds it.

    The lock is the kernel's: it ends with the process, also with one that is killed. Where the disk has no locks, a
    file takes its place that names its process.

    Raises:
        UserError: another process holds it (which, where, since when), or the folder cannot be written.
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
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return _acquired(run)
        except Timeout:
            owner = _owner(run)
            if not _is_gone(owner) or time.monotonic() > deadline:
                who = f"process {owner.get('pid', '?')} on {owner.get('host', '?')}, since {owner.get('since', '?')}"
                raise UserError(
                    f"{run} is being written by another fit ({who}): wait for it or stop it, or choose "
                    "--trainer.default_root_dir OTHER"
                ) from None
            time.sleep(0.2)


def _acquired(run: Path) -> BaseFileLock:
    lock: BaseFileLock = FileLock(run / LOCK)
    try:
        lock.acquire(timeout=0)
    except (NotImplementedError, OSError) as error:
        if isinstance(error, Timeout) or (isinstance(error, OSError) and error.errno not in _NO_LOCKS):
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
    """Whether the process that ``owner`` names ran on this machine and runs no more."""
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
