"""Trials as tasks, on trials that cost nothing: a script in the place of the command line."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dask
import pytest
from distributed import LocalCluster
from scripts import SCRIPT, dask_cluster, once, run, stands_for, started, starts, trials, wait_for, worker_of

from data_modules.errors import UsageError, UserError
from mpma_lightning.lab import program
from mpma_lightning.lab.sweeps import task
from mpma_lightning.lab.sweeps.plan import Sweep
from mpma_lightning.lab.sweeps.runner import alone, runner

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "script.py").write_text(SCRIPT)
    monkeypatch.setattr(program, "SERVER", stands_for(tmp_path / "script.py"))
    return tmp_path / "script.py"


def test_value_all_is_done_in_order_and_nothing_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    top = tmp_path / "runs"
    progress = run(top, [0, 1])
    assert progress.failed == {} and len(progress.done) == 4 and starts(top) == once([0, 1])
    said = capsys.readouterr().err
    assert "sweep   4 trials (a 2, b 2): 0 done before, 4 to run\n" in said
    assert re.search(r"start   a/m/seed_0  fit on worker [01]\n", said), "progress is readable without a terminal"
    assert re.search(r"done    b/m/seed_[01]  \d s; 4 of 4 done\n", said)
    assert run(top, [0, 1]).failed == {} and starts(top) == once([0, 1])
    assert "4 done before, 0 to run\n" in capsys.readouterr().err
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


def test_value_a_call_stopped_while_its_first_command_is_started_leaves_nothing_behind(
    tmp_path: Path, script: Path
) -> None:
    """The process that commands are forked from takes its time: it imports torch."""
    slow = f"import time\ntime.sleep(3)\nexec({stands_for(script)[2]!r})"
    process = started(script, tmp_path / "runs", [600], 1, None, [sys.executable, "-c", slow])
    wait_for(lambda: (tmp_path / "runs" / "a" / "600" / ".trial.lock").is_file())
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGTERM)
    process.join(60)
    assert process.exitcode == 128 + signal.SIGTERM
    time.sleep(4)
    pid = tmp_path / "runs" / "a" / "600" / "pid"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()) if pid.is_file() else 2**22, 0)


# workers in other processes


@pytest.fixture
def cluster(tmp_path: Path, script: Path) -> Iterator[tuple[str, subprocess.Popen]]:
    """A scheduler's file, and its only worker with the nanny that starts it again."""
    with dask_cluster(tmp_path, script, 1) as (_, worker):
        yield str(tmp_path / "scheduler.json"), worker


def test_value_worker_killed_in_a_trial_does_everything_once(
    tmp_path: Path, script: Path, cluster: tuple[str, subprocess.Popen]
) -> None:
    file, nanny = cluster
    wait_for(Path(file).is_file)
    top = tmp_path / "runs"
    process = started(script, top, range(3), 1, file)
    wait_for(lambda: len(starts(top)) == 2)
    worker_of(nanny).kill()
    process.join(600)
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


def test_value_a_scheduler_without_workers_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    addresses = {"dashboard_address": "127.0.0.1:0", "worker_dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=0, processes=False, **addresses) as cluster:
        for count, said in ((0, True), (1, False)):
            cluster.scale(count)
            wait_for(lambda count=count: len(cluster.scheduler.workers) == count)
            with runner(Sweep(Path("sweep.yaml"), tmp_path / "runs"), 1, cluster.scheduler_address):
                pass
            assert ("no worker has joined yet" in capsys.readouterr().err) == said


def test_value_cluster_that_the_sweep_file_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quiet = {"processes": False, "dashboard_address": "127.0.0.1:0", "n_workers": 0, "threads_per_worker": 1}
    cluster = {"class_path": "distributed.LocalCluster", "init_args": quiet, "scale": 2}
    sweep = Sweep(Path("sweep.yaml"), tmp_path / "runs", cluster=cluster, trials=trials(tmp_path / "runs", [0]))
    with runner(sweep, 1, None) as made:
        assert made.run(sweep.trials).failed == {}
    assert starts(tmp_path / "runs") == once([0])
    assert re.search(r"dashboard: http://\S+:\d+/status\n", capsys.readouterr().err)
    assert json.loads((tmp_path / "runs" / "a" / "0" / "results.json").read_text())["seed"] == 0
