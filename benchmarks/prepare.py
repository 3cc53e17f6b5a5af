"""`prepare` with one process, with two, and on a Dask scheduler with two workers: images a second, and the same bytes?

    python benchmarks/prepare.py [--films 2000] [--size 64 | --phantom DIR]

Every store is written by the command line, as a user does; its time counts from its start to its end. Figures depend on
what else the machine does, their ratios less so. Ends with 1 where two stores differ.
"""

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_modules.machine import cores
from data_modules.phantom import write_phantom

FILMS_A_PATIENT = 2
PROG = [sys.executable, "-m"]


@contextmanager
def scheduler(folder: Path, workers: int) -> Iterator[Path]:
    """A scheduler and workers of one thread, each a process; its file."""
    file = folder / "scheduler.json"
    here = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(file)]
    parts = [["scheduler", "--port", "0"], *[["worker", "--nthreads", "1", "--no-nanny"]] * workers]
    processes = [
        subprocess.Popen([*PROG, f"distributed.cli.dask_{name}", *more, *here], stderr=subprocess.DEVNULL)
        for name, *more in parts
    ]
    while not file.is_file():
        time.sleep(0.1)
    try:
        yield file
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


def prepared(root: Path, out: Path, *words: str) -> tuple[float, str]:
    """Seconds, and a hash of all names and bytes of the store."""
    roots = ["--root", str(root / "mimic-cxr-jpg"), "--data.report_root", str(root / "mimic-cxr")]
    begin = time.monotonic()
    subprocess.run([*PROG, "mpma_lightning", "prepare", "mimic_cxr", *roots, "--out", str(out), *words], check=True)
    seconds, digest = time.monotonic() - begin, hashlib.sha256()
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(out)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    shutil.rmtree(out)
    return seconds, digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=2_000)
    parser.add_argument("--size", type=int, default=64, help="pixels of the films")
    parser.add_argument("--phantom", type=Path, help="a phantom that is there already, in place of a new one")
    given = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {cores()} cores, load {os.getloadavg()[0]:.1f} before")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root, store = given.phantom or folder / "phantom", folder / "store"
        if not given.phantom:
            write_phantom(root, patients=-(-given.films // FILMS_A_PATIENT), seed=0, size=given.size)
        films = sum(1 for _ in (root / "mimic-cxr-jpg").rglob("*.jpg"))
        print(f"{films:,} films", flush=True)
        found = {f"{n} process{'es' * (n > 1)}": prepared(root, store, "--workers", str(n)) for n in (1, 2)}
        with scheduler(folder, 2) as file:
            found["scheduler, 2 workers"] = prepared(root, store, "--scheduler", str(file))
    first = next(iter(found.values()))[0]
    for how, (seconds, digest) in found.items():
        print(f"{how:<22}{films / seconds:>8.0f} images/s{first / seconds:>8.2f} x   {digest[:16]}")
    if len({digest for _, digest in found.values()}) > 1:
        sys.exit("the stores differ")


if __name__ == "__main__":
    main()
