"""Workers of a sweep, on trials that cost nothing: a script in the place of the command line."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mpma_lightning.lab.sweeps import lock as locks
from mpma_lightning.lab.sweeps import worker as workers
from mpma_lightning.lab.sweeps.command import stopping_together
from mpma_lightning.lab.sweeps.lock import claim, is_held
from mpma_lightning.lab.sweeps.trial import RUN, SEED, Step, Trial, read_row
from mpma_lightning.lab.sweeps.worker import Worker

PROGRAM = """
import json, os, pathlib, signal, sys, time
word, folder, seed = sys.argv[1:4]
folder = pathlib.Path(folder)
with (folder / "starts").open("a") as file:
    file.write(word + "\\n")
time.sleep(600 if seed == "600" else 0.3)
starts = (folder / "starts").read_text().split()
if seed == "13" and len(starts) == 1:
    os.kill(os.getpid(), signal.SIGKILL)
if seed == "15" and len(starts) == 1:
    sys.exit(128 + signal.SIGTERM)
if seed == "99":
    print("error: the loss is not finite", file=sys.stderr)
    sys.exit(1)
row = {"protocol": "p", "task": "t", "dataset": "d", "seed": int(seed), "metrics": {}, "config_sha256": "c"}
name = "results.json" if word == "fit" else f"results_{word}.json"
(folder / name).write_text(json.dumps({**row, "weights_sha256": "w", "checkpoint_sha256": "w"}))
"""


class Rows:
    """Stands for Checked: any whole row counts."""

    def row(self, trial: Trial, step: Step) -> dict[str, Any] | None:
        return read_row(trial.folder / step.row_name)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.setattr(workers, "PROGRAM", [sys.executable, str(tmp_path / "program.py")])


def trials(top: Path, seeds: Sequence[int]) -> list[Trial]:
    """A pre-training, and a fit with its test, for each seed."""
    words = (RUN, SEED)
    steps = (Step(("fit", *words)), Step(("test", *words)))
    first = [Trial("a", "m", "", s, top / "a" / f"{s}", steps[:1]) for s in seeds]
    return first + [Trial("b", "m", "", s, top / "b" / f"{s}", steps, f"a/m/seed_{s}", "x") for s in seeds]


def starts(top: Path) -> dict[str, list[str]]:
    return {str(p.parent.relative_to(top)): p.read_text().split() for p in sorted(top.rglob("starts"))}


@pytest.mark.usefixtures("program")
def test_value_worker_does_all_in_order_and_nothing_again(tmp_path: Path) -> None:
    todo = trials(tmp_path / "runs", [0, 1])
    assert Worker(todo, Rows(), 2).run() == {}  # type: ignore[arg-type]
    once = {"a/0": ["fit"], "a/1": ["fit"], "b/0": ["fit", "test"], "b/1": ["fit", "test"]}
    assert starts(tmp_path / "runs") == once
    assert Worker(todo, Rows(), 2).run() == {}  # type: ignore[arg-type]
    assert starts(tmp_path / "runs") == once
    (tmp_path / "runs" / "b" / "1" / "results_test.json").write_text('{"protocol": "p", "me')
    assert Worker(todo, Rows(), 1).run() == {}  # type: ignore[arg-type]
    assert starts(tmp_path / "runs") == {**once, "b/1": ["fit", "test", "test"]}


@pytest.mark.usefixtures("program")
def test_value_killed_trial_is_started_again_and_a_failed_one_is_said(tmp_path: Path) -> None:
    failed = Worker(trials(tmp_path / "runs", [13, 15, 99, 1]), Rows(), 3).run()  # type: ignore[arg-type]
    assert starts(tmp_path / "runs")["a/13"] == starts(tmp_path / "runs")["a/15"] == ["fit", "fit"]
    assert starts(tmp_path / "runs")["a/99"] == ["fit"] and "b/99" not in starts(tmp_path / "runs")
    assert failed["a/m/seed_99"].startswith("the loss is not finite") and "waits for" in failed["b/m/seed_99"]
    assert set(failed) == {"a/m/seed_99", "b/m/seed_99"}


@pytest.mark.usefixtures("program")
def test_error_children_of_other_weights(tmp_path: Path) -> None:
    todo = trials(tmp_path / "runs", [0])
    assert Worker(todo, Rows(), 1).run() == {}  # type: ignore[arg-type]
    path = todo[0].folder / "results.json"
    path.write_text(path.read_text().replace('"weights_sha256": "w"', '"weights_sha256": "other"'))
    failed = Worker(todo, Rows(), 1).run()  # type: ignore[arg-type]
    assert f"delete {todo[1].folder}" in failed["b/m/seed_0"]


def test_value_every_slot_has_a_card_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(workers.cuda, "device_count", lambda: 2)
    assert [workers.environment(slot, 3)["CUDA_VISIBLE_DEVICES"] for slot in range(3)] == ["0", "1", "0"]
    assert "CUDA_VISIBLE_DEVICES" not in workers.environment(0, 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert workers.environment(1, 2)["CUDA_VISIBLE_DEVICES"] == "7"


def work(top: Path) -> None:
    Worker(trials(top, range(5)), Rows(), 1).run()  # type: ignore[arg-type]


@pytest.mark.usefixtures("program")
def test_value_worker_killed_then_two_at_once_do_everything_once(tmp_path: Path) -> None:
    fork, top = multiprocessing.get_context("fork"), tmp_path / "runs"
    victim = fork.Process(target=work, args=(top,))
    victim.start()
    while len(starts(top)) < 2:
        time.sleep(0.02)
    assert victim.pid
    os.kill(victim.pid, signal.SIGKILL)  # its trial lives on and keeps its folder
    victim.join()
    two = [fork.Process(target=work, args=(top,)) for _ in range(2)]
    for process in two:
        process.start()
    for process in two:
        process.join(60)
    found = starts(top)
    assert found == {f"{s}/{n}": w for s, w in (("a", ["fit"]), ("b", ["fit", "test"])) for n in range(5)}


def work_until_stopped(top: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    with stopping_together():
        Worker(trials(top, [600]), Rows(), 1).run()  # type: ignore[arg-type]


@pytest.mark.usefixtures("program")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, 1)])
def test_value_a_stopped_worker_stops_what_it_runs(tmp_path: Path, number: int, code: int) -> None:
    worker = multiprocessing.get_context("fork").Process(target=work_until_stopped, args=(tmp_path / "runs",))
    worker.start()
    while not starts(tmp_path / "runs"):
        time.sleep(0.02)
    assert worker.pid
    os.kill(worker.pid, number)
    worker.join(60)
    assert worker.exitcode == code and not is_held(tmp_path / "runs" / "a" / "600")


def test_value_lock_is_held_once_and_by_the_process_that_inherits_it(tmp_path: Path) -> None:
    lock = claim(tmp_path)
    assert lock and claim(tmp_path) is None and is_held(tmp_path)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock.descriptor])
    os.close(lock.descriptor)  # as if the worker had been killed
    assert is_held(tmp_path)
    child.communicate(b"\n")
    assert not is_held(tmp_path)


def test_value_lock_of_another_machine_lasts_as_long_as_its_heartbeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat = {"host": "elsewhere", "pid": 1, "beat": 1.0}
    (tmp_path / "lock").write_text(json.dumps(beat))
    assert claim(tmp_path) is None
    monkeypatch.setattr(locks, "STALE", 0.2)
    time.sleep(0.3)
    (tmp_path / "lock").write_text(json.dumps({**beat, "beat": 2.0}))
    assert claim(tmp_path) is None, "it has written since"
    time.sleep(0.3)
    assert claim(tmp_path) is not None
