"""A sweep as a search: proposals, pruning, several workers, and what is refused; a script stands for the command."""

import multiprocessing
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from scripts import stands_for

from data_modules.errors import UsageError, UserError
from mpma_lightning.cli.main import main
from mpma_lightning.lab import program
from mpma_lightning.lab.sweeps import search as searches
from mpma_lightning.lab.sweeps.check import Checked
from mpma_lightning.lab.sweeps.plan import read_sweep
from mpma_lightning.lab.sweeps.runner import runner
from mpma_lightning.lab.sweeps.search import Search
from mpma_lightning.lab.sweeps.trial import Trial

optuna = pytest.importorskip("optuna")
ROOT = Path(__file__).parents[3]
PROGRAM = """
import json, os, pathlib, sys, time
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
words = dict(zip(sys.argv[2::2], sys.argv[3::2]))
folder, rate = pathlib.Path(words["--trainer.default_root_dir"]), float(words["--model.optim.lr"])
with (folder / "starts").open("a") as file:
    file.write("start\\n")
value = -abs(rate - 0.3)
writer = EventFileWriter(str(folder))
writer.add_event(Event(step=1, summary=Summary(value=[Summary.Value(tag="val/score", simple_value=value)])))
writer.close()
time.sleep(float(os.environ["LASTS"]) if value > -0.3 else float(os.environ["LASTS_BAD"]))
row = {"protocol": "p", "task": "t", "dataset": "d", "seed": 0, "metrics": {"val/score": value}, "config_sha256": "c"}
(folder / "results.json").write_text(json.dumps(row))
"""
SPACE = {"model.optim.lr": {"low": 0.0, "high": 1.0}}
SEARCH: dict[str, Any] = {"metric": "val/score", "trials": 6, "pruning": "none", "space": SPACE}


def complete(trials: Sequence[Trial]) -> list[Trial]:
    """Stands for Checked: any line is right, and has the hash that the script writes."""
    return [replace(trial, steps=tuple(replace(step, config_sha256="c") for step in trial.steps)) for trial in trials]


@pytest.fixture(autouse=True)
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.setattr(program, "SERVER", stands_for(tmp_path / "program.py"))
    monkeypatch.setattr(searches, "LOOK", 0.2)
    monkeypatch.setenv("LASTS", "0.3")
    monkeypatch.setenv("LASTS_BAD", "0.3")


def sweep_file(folder: Path, **search: Any) -> Path:
    path = folder / "search.yaml"
    methods = {"mpma": f"{ROOT}/experiments/ablations/mpma.yaml"}
    content = {"runs": str(folder / "runs"), "stages": {"fit": {"methods": methods}}, "search": {**SEARCH, **search}}
    path.write_text(yaml.safe_dump(content))
    return path


def search(folder: Path, storage: str | None = None, **options: Any) -> Search:
    return Search(read_sweep(sweep_file(folder, **options)), complete, storage)


def run(made: Search, workers: int) -> None:
    with runner(made.sweep, workers, None) as found:
        made.run(found)


def starts(folder: Path) -> list[int]:
    return [len(path.read_text().split()) for path in sorted(folder.rglob("starts"))]


def study(folder: Path) -> Any:
    return search(folder).study


@pytest.mark.parametrize("storage", [None, "sqlite:///{}/study.db"])
def test_value_search_finds_the_best_of_what_it_ran(
    tmp_path: Path, storage: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    made = search(tmp_path, storage and storage.format(tmp_path))
    run(made, 2)
    done = made.study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    assert len(done) == 6 and starts(tmp_path) == [1] * 6
    assert all(trial.value == pytest.approx(-abs(trial.params["model.optim.lr"] - 0.3)) for trial in done)
    best = max(done, key=lambda trial: trial.value)
    said = capsys.readouterr().out
    assert said.startswith(f"best of 6: val/score {best.value:.4g}")
    assert f"--model.optim.lr {best.params['model.optim.lr']}" in said and "python -m mpma_lightning fit" in said
    run(made, 1)
    assert starts(tmp_path) == [1] * 6, "the same call again has nothing left to do"


def test_value_worse_than_the_median_is_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LASTS_BAD", "60")
    made = search(tmp_path, trials=3, startup=2, pruning="median")
    for rate in (0.3, 0.31, 0.9):  # two good ones, and one that would take a minute
        made.study.enqueue_trial({"model.optim.lr": rate})
    start = time.monotonic()
    run(made, 1)
    states = [trial.state.name for trial in made.study.get_trials()]
    assert states == ["COMPLETE", "COMPLETE", "PRUNED"] and time.monotonic() - start < 40


def work(folder: Path) -> None:
    program.SERVER = stands_for(folder / "program.py")
    run(search(folder), 1)


def test_value_killed_search_goes_on_and_neither_loses_nor_repeats(tmp_path: Path) -> None:
    victim = multiprocessing.get_context("spawn").Process(target=work, args=(tmp_path,))
    victim.start()
    while len(starts(tmp_path)) < 2:
        time.sleep(0.02)
    victim.kill()
    victim.join()
    run(search(tmp_path), 2)
    trials = study(tmp_path).get_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 6 and starts(tmp_path) == [1] * 6
    assert len({trial.params["model.optim.lr"] for trial in trials}) == 6, "no value is proposed twice"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"metric": "test/auroc"}, "expected a metric of validation"),
        ({"space": {"model.optim.lr": {"low": 1.0, "high": 0.1}}}, "expected numbers, the lower first"),
        ({"space": {"model.optim.lr": {"low": 0.1}}}, "expected a list of values, or low and high"),
        ({"trials": "many"}, "search: trials: expected a whole number, got 'many'"),
        ({"space": "lr"}, "search: space: expected a mapping, got 'lr'"),
        ({"trails": 5}, "unknown key 'trails'; did you mean 'trials'?"),
        ({"direction": "up"}, "direction: unknown choice 'up' (one of maximize, minimize)"),
    ],
)
def test_error_in_a_search(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as error:
        search(tmp_path, **options)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"metric": "val/other"}, "was begun with metric 'val/score', found 'val/other'"),
        ({"direction": "minimize"}, "was begun with direction 'maximize'"),
        ({"space": {"model.optim.lr": {"low": 0.0, "high": 2.0}}}, "was begun with space"),
    ],
)
def test_error_study_of_another_question(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    search(tmp_path)
    search(tmp_path, trials=9)
    with pytest.raises(UsageError, match=re.escape(says)):
        search(tmp_path, **change)


def test_error_end_of_a_range_is_refused_before_anything_starts(tmp_path: Path) -> None:
    sweep = read_sweep(sweep_file(tmp_path, space={"model.optim.warmpu": [0.1, 0.2]}))
    with pytest.raises(UsageError) as error:
        Search(sweep, partial(Checked().complete, where="search"), None)
    assert "warmpu" in str(error.value) and not (tmp_path / "runs").exists()


def test_error_search_that_never_ends_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "program.py").write_text("import sys; print('error: no such thing', file=sys.stderr); sys.exit(1)")
    made = search(tmp_path, trials=2)
    with pytest.raises(UserError) as error:
        run(made, 2)
    assert "no trial of the search has ended well" in str(error.value)
    assert [trial.state.name for trial in made.study.get_trials()] == ["FAIL", "FAIL"]


def test_error_storage_without_a_search(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plain.yaml"
    path.write_text(f"stages: {{fit: {{methods: {{mpma: {ROOT}/experiments/ablations/mpma.yaml}}}}}}\n")
    assert main(["sweep", str(path), "--storage", "sqlite:///x.db"]) == 1
    assert "--storage is for a search" in capsys.readouterr().err
