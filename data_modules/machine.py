"""What this machine has, on Linux and macOS alike."""

import os
import resource
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

Each = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]
"""Calls a function for each item, here or on other machines, and gives the results in the order of the items."""


def in_threads(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterable[Any]:
    """An :data:`Each` of one thread a core."""
    with ThreadPoolExecutor(cores()) as pool:
        yield from pool.map(function, items)


def cores() -> int:
    """Processor cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peak_resident_mib() -> float:
    """Largest resident memory of this process so far, in MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
