"""A lock on a run folder: the kernel's on one machine, a heartbeat for machines that do not share locks."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HEARTBEAT, STALE = 10.0, 60.0
"""Seconds between heartbeats, and after which silence another machine takes the folder over."""
_BEATS: dict[str, float] = {}
"""When this process last saw a heartbeat of another machine change: clocks of two machines are never compared."""


class Lock:
    """Held from :func:`claim` to :meth:`release`, and by the trial's process too, which inherits ``descriptor``.

    So a trial whose sweep was killed still holds its folder, and a trial that was killed does not. The heartbeat is the
    sweep's alone: a machine that does not share locks takes the folder of such a trial over after STALE seconds.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self.descriptor, self._beat = path, descriptor, 0.0

    def beat(self) -> None:
        """Write the heartbeat if it is due."""
        if time.monotonic() - self._beat > HEARTBEAT:
            self._beat = time.monotonic()
            content = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "beat": time.time()})
            os.pwrite(self.descriptor, f"{content:<200}".encode(), 0)

    def release(self) -> None:
        """Give the folder back."""
        os.ftruncate(self.descriptor, 0)
        os.close(self.descriptor)


def claim(folder: Path) -> Lock | None:
    """Lock ``folder``, or ``None`` where another worker has it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _beats_elsewhere(path, os.pread(descriptor, 200, 0)):
            lock = Lock(path, descriptor)
            lock.beat()
            return lock
    except BlockingIOError:
        pass
    os.close(descriptor)
    return None


def is_held(folder: Path) -> bool:
    """Whether some worker or trial holds ``folder``."""
    if not (folder / "lock").exists():
        return False
    lock = claim(folder)
    if lock is not None:
        lock.release()
    return lock is None


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until no other process is in such a block on ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _beats_elsewhere(path: Path, content: bytes) -> bool:
    """Whether another machine, whose kernel lock we may not see, still writes its heartbeat."""
    try:
        said = json.loads(content)
    except ValueError:
        return False
    if said["host"] == socket.gethostname():
        return False
    key = f"{path}:{said['beat']}"
    return time.monotonic() - _BEATS.setdefault(key, time.monotonic()) < STALE
