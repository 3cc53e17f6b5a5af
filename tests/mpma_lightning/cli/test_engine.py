"""`prepare` and `check` on the workers of a scheduler: the same bytes, the same findings, and what is refused."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import LocalCluster

from data_modules.errors import UserError
from data_modules.phantom import write_phantom
from mpma_lightning.cli.engine import elsewhere
from mpma_lightning.cli.main import main


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a scheduler with two worker processes."""
    addresses = {"dashboard_address": "127.0.0.1:0", "worker_dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=2, threads_per_worker=1, memory_limit=0, silence_logs=50, **addresses) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom(folder, patients=6, seed=3, size=96)
    return folder


def double(number: int) -> int:
    return 2 * number


def end(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_value_results_come_in_order(scheduler: str) -> None:
    with elsewhere(scheduler, None) as each:
        assert list(each(double, range(1000))) == [2 * number for number in range(1000)]
        assert list(each(double, [])) == []


def test_error_what_a_function_raises_and_what_kills_a_worker(scheduler: str) -> None:
    with elsewhere(scheduler, None) as each:
        with pytest.raises(TypeError):
            list(each(double, [None]))
        with pytest.raises(UserError, match="workers were killed, probably for memory"):
            list(each(end, [0]))


def test_value_store_and_findings_are_those_of_one_process(
    scheduler: str, phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["mimic_cxr", "--root", str(phantom), "--short_side", "64"]
    for name, more in (("here", ["--workers", "1"]), ("there", ["--scheduler", scheduler])):
        assert main(["prepare", *words, "--out", str(tmp_path / name), *more]) == 0
    here, there = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("here", "there")
    )
    assert here == there and len(here) >= 3
    capsys.readouterr()
    said = []
    for more in ([], ["--scheduler", scheduler]):
        assert main(["check", "mimic_cxr", "--root", str(tmp_path / "here"), *more]) in (0, 1)
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] and "images" in said[0]


def test_error_worker_of_another_folder(scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with elsewhere(scheduler, None) as each, pytest.raises(UserError, match=f"expected {tmp_path}; start it there"):
        list(each(double, [1]))


def test_error_both_places(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected one of them"), elsewhere("tcp://127.0.0.1:1", tmp_path / "c.yaml"):
        pass


def test_value_cluster_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(
        "class_path: distributed.LocalCluster\n"
        "init_args: {n_workers: 0, processes: false, dashboard_address: '127.0.0.1:0'}\nscale: 1\n"
    )
    with elsewhere(None, tmp_path / "cluster.yaml") as each:
        assert list(each(double, [1, 2])) == [2, 4]
