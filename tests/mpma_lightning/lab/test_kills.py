"""SIGKILL of the driver, a worker, a trial or the scheduler at a random moment: nothing is lost, nothing done twice."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from scripts import SCRIPT, dask_cluster, once, run, stands_for, started, starts, wait_for, worker_of

from mpma_lightning.cli.main import main
from mpma_lightning.lab import program

SEEDS = range(4)


def table(top: Path) -> str:
    """The report of what was measured."""
    assert main(["report", str(top), "--out", str(top / "table.csv")]) == 0
    return (top / "table.csv").read_text()


def records(top: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in top.rglob("results*.json")}


@pytest.mark.full
@pytest.mark.parametrize("turn", range(2))
def test_value_whatever_is_killed_the_table_is_the_same(
    turn: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, file = tmp_path / "script.py", str(tmp_path / "scheduler.json")
    script.write_text(SCRIPT)
    monkeypatch.setattr(program, "SERVER", stands_for(script))
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "5s")  # until a scheduler counts as gone
    assert run(tmp_path / "alone", SEEDS).failed == {}
    chance = random.Random(turn)
    for victim in ("driver", "worker", "trial", "scheduler"):
        top = tmp_path / victim
        with dask_cluster(tmp_path, script, 2) as (scheduler, *nannies):
            driver = started(script, top, SEEDS, 1, file)
            wait_for(lambda top=top: starts(top))
            time.sleep(chance.uniform(0, 1.5))
            done = records(top)
            if victim == "driver":
                driver.kill()
            elif victim == "worker":
                worker_of(chance.choice(nannies)).kill()
            elif victim == "scheduler":
                scheduler.kill()
            elif pids := [int(path.read_text() or 0) for path in top.rglob("pid")]:
                kill(pids[-1])
            driver.join(600)
            assert driver.exitcode is not None
            if victim in ("worker", "trial"):
                assert driver.exitcode == 0, "goes on by itself"
        with dask_cluster(tmp_path, script, 2):
            assert run(top, SEEDS, 1, file).failed == {}
        assert {path: time for path, time in records(top).items() if path in done} == done, victim
        extra = {name: len(words) - len(once(SEEDS)[name]) for name, words in starts(top).items()}
        assert extra.keys() == once(SEEDS).keys() and set(extra.values()) <= {0, 1}
        assert sum(extra.values()) <= (1 if victim == "trial" else 0), (victim, extra)
        assert table(top) == table(tmp_path / "alone"), victim


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
