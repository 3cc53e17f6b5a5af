"""Commands forked from a process that has imported everything: what they get, how they end, what outlives what."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from scripts import stands_for

from mpma_lightning.lab import program
from mpma_lightning.lab.program import Command, last_error

SCRIPT = """
import os, signal, sys, time
word = sys.argv[1]
print("at", os.getcwd(), sys.stdin.read(), os.environ.get("ONLY"), len(os.environ), flush=True)
if word == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if word == "waits":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    print("ready", flush=True)
    time.sleep(60)
if word == "broken":
    raise ValueError("error: a bug")
sys.exit(f"error: {word}" if word == "refused" else None)
"""


@pytest.fixture(autouse=True)
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    monkeypatch.setattr(program, "SERVER", stands_for(tmp_path / "script.py"))


def start(folder: Path, word: str, held: int | None = None, more: Mapping[str, str] = os.environ) -> Command:
    return program.start([word], folder / "log.txt", more, folder, held)


def log(folder: Path) -> list[str]:
    return (folder / "log.txt").read_text().splitlines()


@pytest.mark.parametrize(("word", "code"), [("ends", 0), ("refused", 1), ("broken", 1), ("killed", -signal.SIGKILL)])
def test_value_how_a_command_ends(tmp_path: Path, word: str, code: int) -> None:
    assert start(tmp_path, word).wait() == code
    assert start(tmp_path, "ends").wait() == 0, "the next one starts all the same"
    assert last_error(tmp_path / "log.txt") == (word if word == "refused" else None)


def test_value_environment_folder_and_output_are_its_own(tmp_path: Path) -> None:
    start(tmp_path, "ends").wait()
    only = {"ONLY": "this", "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "")}
    assert start(tmp_path, "ends", more=only).wait() == 0
    assert log(tmp_path)[1] == f"at {tmp_path}  this 2" and len(log(tmp_path)) == 2


def test_value_threads_are_those_that_torch_reads_when_it_is_imported(tmp_path: Path) -> None:
    for threads in ("1", "2", "1"):
        start(tmp_path, "ends", more={**os.environ, "OMP_NUM_THREADS": threads}).wait()
    own = [key[-1] for key in program._SERVERS if str(tmp_path) in key]
    assert own == ["1", "2"], "a process for each number of threads, and no more"


def ready(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while "ready" not in log(folder):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_value_a_command_outlives_what_it_was_forked_from_and_keeps_its_lock(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        command = start(tmp_path, "waits", held.fileno())
    ready(tmp_path)
    (server,) = [found for key, (found, _) in program._SERVERS.items() if str(tmp_path) in key]
    server.kill()
    server.wait()
    with (tmp_path / "lock").open("w") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    command.terminate()
    assert command.wait() == 128 + signal.SIGTERM
    with (tmp_path / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert start(tmp_path, "ends").wait() == 0, "another process takes its place"


def test_error_what_commands_are_forked_from_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "SERVER", [sys.executable, "-c", "raise SystemExit('error: no torch')"])
    assert start(tmp_path, "ends").wait() == 1
    assert last_error(tmp_path / "log.txt") == "no torch"


def test_value_a_command_whose_worker_is_gone_is_not_started(tmp_path: Path) -> None:
    """As when a sweep is ended while torch is being imported."""
    worker, server = socket.socketpair()
    mine, theirs = socket.socketpair()
    request = {"words": ["ends"], "log": str(tmp_path / "log.txt"), "folder": str(tmp_path), "environment": {}}
    (tmp_path / "log.txt").touch()
    with worker, mine, theirs, Path(os.devnull).open() as null:
        socket.send_fds(worker, [b"."], [theirs.fileno(), null.fileno()])
        mine.sendall(json.dumps(request).encode() + b"\n")
    with server:
        assert subprocess.run(program.SERVER, stdin=server.fileno(), timeout=60).returncode == 0
    time.sleep(0.5)
    assert log(tmp_path) == []


UNSAFE = """
import os, runpy, sys, types
from mpma_lightning.lab import warm
sys.platform = PLATFORM
sys.modules["torch"] = types.SimpleNamespace(cuda=types.SimpleNamespace(_is_in_bad_fork=lambda: INITIALISED))
os.execv = lambda _, words: print("fresh", *words[1:], flush=True) or os._exit(0)
runpy.run_module = lambda name, **_: print("forked", name, *sys.argv[1:])
warm.serve(warm.command)
"""


@pytest.mark.parametrize(
    ("platform", "initialised", "way"),
    [("linux", False, "forked mpma_lightning"), ("linux", True, "fresh -m mpma_lightning"),
     ("darwin", False, "fresh -m mpma_lightning")],
)  # fmt: skip
def test_value_where_a_fork_is_not_safe_a_fresh_interpreter_runs_the_command(
    platform: str, initialised: bool, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After CUDA was initialised a forked process cannot use it; on macOS a fork may crash."""
    code = UNSAFE.replace("PLATFORM", repr(platform)).replace("INITIALISED", repr(initialised))
    monkeypatch.setattr(program, "SERVER", [sys.executable, "-c", code])
    assert start(tmp_path, "ends").wait() == 0
    assert log(tmp_path) == [f"{way} ends"]
