"""Trials as tasks, on trials that cost nothing: a script in the place of the command line."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
from scripts import stands_for

from data_modules.errors import UsageError, UserError
from mpma_lightning.lab import program
from mpma_lightning.lab.sweeps import task
from mpma_lightning.lab.sweeps.command import stopping_together
from mpma_lightning.lab.sweeps.plan import Sweep
from mpma_lightning.lab.sweeps.progress import Progress
from mpma_lightning.lab.sweeps.runner import alone, runner
from mpma_lightning.lab.sweeps.trial import Slot, Step, Trial

ROOT = Path(__file__).parents[3]
SCRIPT = """
import json, os, pathlib, signal, sys, time
word, folder, seed = sys.argv[1:4]
folder = pathlib.Path(folder)
with (folder / "starts").open("a") as file:
    file.write(word + "\\n")
(folder / "pid").write_text(str(os.getpid()))
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


@pytest.fixture(autouse=True)
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "script.py").write_text(SCRIPT)
    monkeypatch.setattr(program, "SERVER", stands_for(tmp_path / "script.py"))
    return tmp_path / "script.py"


def trials(top: Path, seeds: Sequence[int]) -> list[Trial]:
    """A pre-training, and a fit with its test, for each seed."""
    words = (Slot.RUN, Slot.SEED)
    fit, test = Step(("fit", *words), "c"), Step(("test", *words), "c")
    first = [Trial("a", "m", "", s, top / "a" / f"{s}", (fit,)) for s in seeds]
    second = [
        Trial("b", "m", "", s, top / "b" / f"{s}", (fit, test), f"a/m/seed_{s}", str(top / "a" / f"{s}")) for s in seeds
    ]
    return first + second


def run(top: Path, seeds: Sequence[int], workers: int = 2, scheduler: str | None = None) -> Progress:
    sweep = Sweep(Path("sweep.yaml"), top, trials=trials(top, seeds))
    with stopping_together(), runner(sweep, workers, scheduler) as made:
        return made.run(sweep.trials)


def call(script: Path, top: Path, seeds: Sequence[int], workers: int = 1, scheduler: str | None = None) -> None:
    """:func:`run` in a process of its own."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    program.SERVER = stands_for(script)
    run(top, seeds, workers, scheduler)


def started(*arguments: Any) -> Any:
    process = multiprocessing.get_context("spawn").Process(target=call, args=arguments)
    process.start()
    return process


def starts(top: Path) -> dict[str, list[str]]:
    return {str(p.parent.relative_to(top)): p.read_text().split() for p in sorted(top.rglob("starts"))}


def once(seeds: Sequence[int]) -> dict[str, list[str]]:
    return {f"{stage}/{n}": words for stage, words in (("a", ["fit"]), ("b", ["fit", "test"])) for n in seeds}


def wait_for(condition: object, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_value_all_is_done_in_order_and_nothing_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    top = tmp_path / "runs"
    progress = run(top, [0, 1])
    assert progress.failed == {} and len(progress.done) == 4 and starts(top) == once([0, 1])
    said = capsys.readouterr().err
    assert re.search(r"start   a/m/seed_0  fit on worker [01]\n", said), "progress is readable without a terminal"
    assert re.search(r"done    b/m/seed_[01]  \d s; 4 of 4 done\n", said)
    assert run(top, [0, 1]).failed == {} and starts(top) == once([0, 1])
    (top / "b" / "1" / "results_test.json").write_text('{"protocol": "p", "me')
    assert run(top, [0, 1], 1).failed == {}
    assert starts(top) == {**once([0, 1]), "b/1": ["fit", "test", "test"]}


def test_value_killed_trial_is_started_again_and_a_failed_one_is_said(tmp_path: Path) -> None:
    progress = run(tmp_path / "runs", [13, 15, 99, 1], 3)
    made = starts(tmp_path / "runs")
    assert made["a/13"] == made["a/15"] == ["fit", "fit"]
    assert made["a/99"] == ["fit"] and "b/99" not in made
    reason = progress.failed["a/m/seed_99"]
    assert reason == f"the loss is not finite (log: {tmp_path / 'runs' / 'a' / '99' / 'log.txt'})"
    assert progress.failed["b/m/seed_99"] == "waits for a/m/seed_99, which has not been done"
    assert set(progress.failed) == {"a/m/seed_99", "b/m/seed_99"}


def test_error_children_of_other_weights(tmp_path: Path) -> None:
    top = tmp_path / "runs"
    run(top, [0])
    path = top / "a" / "0" / "results.json"
    path.write_text(path.read_text().replace('"weights_sha256": "w"', '"weights_sha256": "other"'))
    assert f"delete {top / 'b' / '0'}" in run(top, [0]).failed["b/m/seed_0"]


def test_value_every_slot_has_a_card_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert [task.environment(slot, 3)["CUDA_VISIBLE_DEVICES"] for slot in range(3)] == ["5", "7", "5"]
    assert task.environment(1, 1)["CUDA_VISIBLE_DEVICES"] == "5,7", "alone, a trial has all"
    assert task.environment("elsewhere", None)["CUDA_VISIBLE_DEVICES"] == "5,7"


def test_value_nothing_listens_beyond_this_machine(tmp_path: Path) -> None:
    sweep = Sweep(Path("sweep.yaml"), tmp_path / "runs")
    with runner(sweep, 2, None):
        tables = [Path(f"/proc/self/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
        own = {str(file.readlink()) for file in Path("/proc/self/fd").iterdir() if file.is_symlink()}
        listening = [line.split() for table in tables for line in table if line.split()[3] == "0A"]
        addresses = {line[1].partition(":")[0] for line in listening if f"socket:[{line[9]}]" in own}
    assert addresses <= {"0100007F"}, "127.0.0.1"


def test_value_driver_killed_then_called_again_does_everything_once(tmp_path: Path, script: Path) -> None:
    top = tmp_path / "runs"
    victim = started(script, top, range(4))
    wait_for(lambda: len(starts(top)) == 2)
    victim.kill()  # its trial lives on and keeps its folder
    victim.join()
    assert run(top, range(4)).failed == {} and starts(top) == once(range(4))


def test_error_second_call_is_told_of_the_first(tmp_path: Path) -> None:
    with alone(tmp_path / "runs") as say_address:
        say_address("tcp://10.0.0.1:8786")
        with pytest.raises(
            UserError, match=rf"process {os.getpid()} on .*help it with `dask worker tcp://10.0.0.1:8786`"
        ):
            run(tmp_path / "runs", [0])
    assert not starts(tmp_path / "runs")
    run(tmp_path / "runs", [0])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, 1)])
def test_value_a_stopped_call_stops_what_it_runs(tmp_path: Path, script: Path, number: int, code: int) -> None:
    process = started(script, tmp_path / "runs", [600])
    pid = tmp_path / "runs" / "a" / "600" / "pid"
    wait_for(lambda: pid.is_file() and pid.read_text())
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == code
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


# workers in other processes


@pytest.fixture
def cluster(tmp_path: Path, script: Path) -> Iterator[tuple[str, subprocess.Popen]]:
    """A scheduler's file, and its only worker with the nanny that starts it again."""
    (tmp_path / "preload.py").write_text(
        f"from mpma_lightning.lab import program\nprogram.SERVER = {stands_for(script)!r}\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "5"}
    file, here = str(tmp_path / "scheduler.json"), ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
    names = (["scheduler", "--port", "0"], ["worker", "--nthreads", "1", "--preload", str(tmp_path / "preload.py")])
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_" + name, *more, *here, "--scheduler-file", file],
            cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL,
        )
        for name, *more in names
    ]  # fmt: skip
    yield file, processes[1]
    for process in reversed(processes):
        process.terminate()
        process.wait()


def test_value_worker_killed_in_a_trial_does_everything_once(
    tmp_path: Path, script: Path, cluster: tuple[str, subprocess.Popen]
) -> None:
    file, nanny = cluster
    wait_for(Path(file).is_file)
    top = tmp_path / "runs"
    process = started(script, top, range(3), 1, file)
    wait_for(lambda: len(starts(top)) == 2)
    (worker,) = [child for child in psutil.Process(nanny.pid).children() if "spawn_main" in " ".join(child.cmdline())]
    worker.kill()
    process.join(120)
    assert process.exitcode == 0 and starts(top) == once(range(3))


def test_error_scheduler_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--scheduler nothing.json: no such file"):
        run(tmp_path / "runs", [0], 1, "nothing.json")
    (tmp_path / "old.json").write_text('{"address": "tcp://127.0.0.1:1"}')
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}), pytest.raises(UserError, match="no scheduler"):
        run(tmp_path / "runs", [0], 1, str(tmp_path / "old.json"))


@pytest.mark.parametrize(
    ("cluster", "error", "says"),
    [
        ({"class_path": "os.system", "scale": 1}, UsageError, "expected class_path of a cluster of dask_jobqueue"),
        ({"class_path": "distributed.LocalCluster"}, UsageError, "one of scale: N and adapt"),
        ({"class_path": "dask_jobqueue.SLURMCluster", "scale": 1}, UserError, "pip install dask-jobqueue"),
        ({"class_path": "distributed.LocalCluster", "scale": 1, "initargs": {}}, UsageError, "unknown key 'initargs'"),
    ],
)
def test_error_cluster_of_a_sweep_file(tmp_path: Path, cluster: dict, error: type[Exception], says: str) -> None:
    sweep = Sweep(Path("sweep.yaml"), tmp_path / "runs", cluster=cluster)
    with pytest.raises(error, match=says), runner(sweep, 1, None):
        pass


def test_value_cluster_that_the_sweep_file_names(tmp_path: Path) -> None:
    quiet = {"processes": False, "dashboard_address": "127.0.0.1:0", "n_workers": 0, "threads_per_worker": 1}
    cluster = {"class_path": "distributed.LocalCluster", "init_args": quiet, "scale": 2}
    sweep = Sweep(Path("sweep.yaml"), tmp_path / "runs", cluster=cluster, trials=trials(tmp_path / "runs", [0]))
    with runner(sweep, 1, None) as made:
        assert made.run(sweep.trials).failed == {}
    assert starts(tmp_path / "runs") == once([0])
    assert json.loads((tmp_path / "runs" / "a" / "0" / "results.json").read_text())["seed"] == 0
