"""What a user reads after a fault: one line that says what happened, where, and how to go on."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from demo_run import ROOT, demo_arguments
from test_bad_input import training_images

from data_modules.phantom import write_phantom

SECONDS = 120
"""Within which the other ranks end after one was killed."""


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom")
    write_phantom(out, patients=20, seed=3, size=64, workers=1)
    return out


def fail(phantom: Path, run: Path, fault: str, *more: str, workers: int = 0) -> str:
    """The one line of a fit with this fault."""
    steps = ["--trainer.max_steps", "4", "--trainer.limit_val_batches", "0", *more]
    words = [*fault.split(), "fit", *demo_arguments(phantom, run, *steps, workers=workers)]
    done = subprocess.run(
        [sys.executable, "tests/faulty_run.py", *words],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode != 0, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert errors and "Traceback" not in done.stderr, done.stderr
    print(f"\n{fault}: {errors[0]}")
    return errors[0].removeprefix("error: ")


TWO = ("--trainer.devices", "2", "--trainer.strategy", "ddp")


@pytest.mark.full
def test_error_nan_on_one_rank_is_agreed_and_written(phantom: Path, tmp_path: Path) -> None:
    line = fail(phantom, tmp_path, "nan 1 2", *TWO)
    assert line.startswith("the loss is not finite at step 2 (") and "report_reconstruction_loss nan" in line
    (row,) = map(json.loads, (tmp_path / "non_finite.jsonl").read_text().splitlines())
    assert row["step"] == 2 and row["what"] == "loss"
    sound, broken = row["ranks"]
    assert sound["losses"]["report_reconstruction_loss"] != "nan" == broken["losses"]["report_reconstruction_loss"]
    assert len(sound["ids"]) == len(broken["ids"]) == 4 and not set(sound["ids"]) & set(broken["ids"])
    assert all(name in line for name in broken["ids"]) and not any(name in line for name in sound["ids"])


@pytest.mark.full
def test_error_rank_killed(phantom: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    line = fail(phantom, tmp_path, "die 1 2", *TWO, "--trainer.max_steps", "100000")
    assert "another process of this run ended or cannot be reached" in line
    assert time.monotonic() - began < SECONDS


@pytest.mark.full
def test_error_worker_killed_names_the_sample(phantom: Path, tmp_path: Path) -> None:
    name = training_images(phantom)[3].stem
    many = ("--trainer.max_steps", "1000", "--data.batch_size", "1")
    line = fail(phantom, tmp_path, f"worker {name}", *many, workers=1)
    assert f"while it read sample {name}" in line and "--data.num_workers 0" in line


@pytest.mark.full
def test_error_out_of_memory(phantom: Path, tmp_path: Path) -> None:
    line = fail(phantom, tmp_path, "memory")
    assert line.startswith("out of memory at batch size 4 (")
    for remedy in ("--data.batch_size 2", "accumulate_grad_batches 2", "--efficiency.gradient_checkpointing true"):
        assert remedy in line


@pytest.mark.full
def test_error_disk_full_at_a_checkpoint(phantom: Path, tmp_path: Path) -> None:
    line = fail(phantom, tmp_path, "full 200000", "--trainer.logger", "false")
    assert re.match(r"checkpoint .*\.ckpt could not be written at step 4 \(File too large\)", line)
    assert "Make room" in line and not list(tmp_path.rglob("*.partial")) and not list(tmp_path.rglob("last.ckpt"))
