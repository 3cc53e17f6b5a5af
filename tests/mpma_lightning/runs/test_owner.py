"""One process at a time writes into a run folder."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_run import fit, toy

from data_modules.errors import UserError
from mpma_lightning.runs.owner import LOCK, OWNER, owned

ROOT = Path(__file__).parents[3]
HOLD = "import sys, time; from pathlib import Path; from mpma_lightning.runs.owner import owned\n" + (
    "with owned(Path(sys.argv[1])): print('held', flush=True); time.sleep(100)"
)


def holder(run: Path, code: str = HOLD, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(run)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_error_held_by_another_process_until_it_is_killed(tmp_path: Path) -> None:
    process = holder(tmp_path)
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        told = f"process {process.pid} on {re.escape(socket.gethostname())}, since 20"
        with pytest.raises(UserError, match=f"is being written by another fit \\({told}"), owned(tmp_path):
            pass
        assert json.loads((tmp_path / OWNER).read_text())["pid"] == process.pid
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    with owned(tmp_path):  # the kernel gave it back
        assert json.loads((tmp_path / OWNER).read_text())["pid"] == os.getpid()
    assert not (tmp_path / OWNER).exists()
    with owned(tmp_path):
        pass


def test_value_other_ranks_of_the_run_do_not_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with owned(tmp_path):
        for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
            monkeypatch.setenv(name, "1")
            with owned(tmp_path):
                pass
            monkeypatch.setenv(name, "0")
            with pytest.raises(UserError, match="another fit"), owned(tmp_path):
                pass


def test_value_the_workers_of_a_killed_run_are_waited_for(tmp_path: Path) -> None:
    """They were forked, hold the lock with it, and end a little later."""
    code = "import os, sys, time; from pathlib import Path; from mpma_lightning.runs.owner import owned\n" + (
        "with owned(Path(sys.argv[1])):\n"
        "    if os.fork() == 0: print('held', flush=True); time.sleep(2); os._exit(0)\n"
        "    time.sleep(100)"
    )
    process = holder(tmp_path, code)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    began = time.monotonic()
    with owned(tmp_path):
        assert time.monotonic() - began < 20


def test_value_a_file_where_the_disk_has_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import fcntl

    def refuse(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with owned(tmp_path):
        assert (tmp_path / f"{LOCK}.soft").exists()
        with pytest.raises(UserError, match="another fit"), owned(tmp_path):
            pass
    with owned(tmp_path):
        pass


def test_error_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="could not be written"), owned(tmp_path / "file" / "run"):
        pass


@pytest.mark.usefixtures("toy")
def test_error_a_second_fit_touches_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit() == 0
    run = Path("runs/toy/first")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name not in (LOCK, OWNER)}
    with owned(run):
        assert fit("--trainer.max_steps", "5") == 1
        assert "is being written by another fit (process" in capsys.readouterr().err
        assert before == {path: path.stat().st_mtime_ns for path in before}
        assert fit("--trainer.fast_dev_run", "true") == 0  # writes nothing
    after = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name not in (LOCK, OWNER)}
    assert before == after
    assert fit("--trainer.max_steps", "5") == 0


__all__ = ["toy"]
