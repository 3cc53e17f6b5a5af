"""A sweep of real commands: killed in the middle, called again, and the same table as undisturbed."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from data_modules.phantom import write_phantom

ROOT = Path(__file__).parents[3]
SWEEP = f"""
seeds: [0]
set:
  trainer.accelerator: cpu
  trainer.enable_progress_bar: false
  data.num_workers: 0
  data.batch_size: 8
stages:
  language:
    methods: {{language: {ROOT}/experiments/demo/language.yaml}}
    set: {{trainer.max_steps: 1, data.image_root: jpg, data.report_root: reports}}
  pretraining:
    after: language
    methods:
      mpma: {ROOT}/experiments/ablations/mpma.yaml
      mrm: {ROOT}/experiments/ablations/mrm_like.yaml
      random: {{weights_of: mpma, downstream: {{model.checkpoint_parts: []}}}}
    set:
      model.checkpoint_parts: [text]
      trainer.max_steps: 2
      trainer.val_check_interval: 1
      data.image_root: jpg
      data.report_root: reports
  zero_shot:
    after: pretraining
    only: [mpma]
    experiment: {ROOT}/experiments/demo/zero_shot.yaml
    set: {{data.root: chexpert, data.labels: [Atelectasis, Cardiomegaly, Edema], data.val_share: 0.2}}
  probe:
    after: pretraining
    without: [mpma]
    experiment: {ROOT}/experiments/demo/linear_probe.yaml
    set:
      model.fractions: [1.0]
      model.seeds: [0]
      data.root: chexpert
      data.labels: [Atelectasis, Cardiomegaly, Edema]
      data.val_share: 0.2
    test: last
"""
TRIALS = 1 + 2 + 1 + 2
RECORDS = TRIALS + 2
"""A probe has one of its fit and one of its test."""


def start(folder: Path, *words: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "mpma_lightning", "sweep", str(folder / "grid.yaml"), *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def rows(folder: Path) -> list[Path]:
    return sorted(folder.glob("runs/sweeps/grid/**/results*.json"))


def starts(folder: Path) -> int:
    """Every command that reads its data leaves a file of events."""
    return len(list(folder.glob("runs/sweeps/grid/**/events.out*")))


def table(folder: Path) -> list[dict[str, Any]]:
    """Of the report: everything that does not depend on when it ran."""
    words = [sys.executable, "-m", "mpma_lightning", "report", "runs/sweeps/grid", "--out", "report.csv"]
    subprocess.run(words, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    return list(csv.DictReader((folder / "report.csv").open()))


def as_in_a_fresh_process(folder: Path) -> None:
    """A command that was forked from a process with torch in it leaves the weights that it leaves alone, to the bit."""
    run = Path("runs/sweeps/grid/language/language/seed_0")
    plan = json.loads((folder / "runs/sweeps/grid/grid.sweep.json").read_text())
    (words,) = plan["trials"][0]["commands"]
    words = ["fresh" if word == str(run) else word for word in words]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "mpma_lightning", *words], cwd=folder, env=environment, check=True)
    warm, fresh = (
        torch.load(folder / place / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for place in (run, "fresh")
    )
    assert warm.keys() == fresh.keys() and all(torch.equal(warm[name], fresh[name]) for name in warm)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two working directories with one phantom."""
    write_phantom(tmp_path / "phantom", patients=40, seed=3, size=128, layouts="chexpert")
    made = tmp_path / "undisturbed", tmp_path / "killed"
    for folder in made:
        folder.mkdir()
        (folder / "grid.yaml").write_text(SWEEP)
        for name, place in (("jpg", "mimic-cxr-jpg"), ("reports", "mimic-cxr"), ("chexpert", "layouts/chexpert")):
            (folder / name).symlink_to(tmp_path / "phantom" / place)
    return made


@pytest.mark.full
def test_value_killed_sweep_gives_the_same_table(folders: tuple[Path, Path]) -> None:
    undisturbed, killed = folders
    whole = start(undisturbed)
    _, said = whole.communicate(timeout=3600)
    assert whole.returncode == 0, said
    victim = start(killed)
    deadline = time.monotonic() + 3600
    while len(rows(killed)) < 2:
        assert victim.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(3)
    os.killpg(victim.pid, signal.SIGKILL)  # the sweep and the run it was in, as when a machine goes down
    victim.communicate()
    before = {path: path.stat().st_mtime_ns for path in rows(killed)}
    again = start(killed)
    _, said = again.communicate(timeout=3600)
    assert again.returncode == 0 and f"{TRIALS} of {TRIALS} trials are done" in said
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what was done stayed as it was"
    assert len(rows(killed)) == len(rows(undisturbed)) == RECORDS
    assert starts(undisturbed) <= starts(killed) <= starts(undisturbed) + 1, "only the killed run was started twice"
    assert table(killed) == table(undisturbed) and len(table(killed)) > 10
    as_in_a_fresh_process(undisturbed)
    plan = json.loads((killed / "runs/sweeps/grid/grid.sweep.json").read_text())
    assert len(plan["trials"]) == TRIALS
