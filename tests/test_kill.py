"""SIGKILL in mid-epoch: the same command continues, and ends where the undisturbed run ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from data_modules.phantom import write_phantom

ROOT = Path(__file__).parents[1]
EVERY, STEPS = 5, 24
SETTINGS = f"""
trainer:
  max_steps: {STEPS}
  enable_progress_bar: false
  limit_val_batches: 0
  log_every_n_steps: 1
  logger:
    class_path: CSVLogger
    init_args: {{save_dir: "${{trainer.default_root_dir}}", flush_logs_every_n_steps: 1}}
  callbacks:
    - class_path: ModelCheckpoint
      init_args:
        dirpath: ${{trainer.default_root_dir}}/checkpoints
        every_n_train_steps: {EVERY}
        save_last: true
        enable_version_counter: false
data: {{init_args: {{batch_size: 8, num_workers: 1}}}}
"""


def start(folder: Path, phantom: Path, run: Path) -> subprocess.Popen:
    settings = folder / "settings.yaml"
    settings.write_text(SETTINGS)
    command = [sys.executable, "-m", "mpma_lightning", "fit", "--trainer.default_root_dir", str(run)]
    for config in (ROOT / "experiments" / "demo" / "pretraining.yaml", settings):
        command += ["--config", str(config)]
    command += ["--data.image_root", f"{phantom}/mimic-cxr-jpg", "--data.report_root", f"{phantom}/mimic-cxr"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def trained_steps(run: Path) -> list[int]:
    """Steps, counted from 0, whose loss the latest start of ``run`` wrote; a line may be cut short by the kill."""
    names, *lines = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()]
    return [int(line[names.index("step")]) for line in lines if len(line) == len(names)]


@pytest.mark.full
def test_value_killed_run_continues_and_ends_bit_identical(tmp_path: Path) -> None:
    phantom = tmp_path / "phantom"
    write_phantom(phantom, patients=60, seed=3, size=128)
    assert start(tmp_path, phantom, tmp_path / "whole").wait(300) == 0
    run, last = tmp_path / "killed", tmp_path / "killed" / "checkpoints" / "last.ckpt"
    victim = start(tmp_path, phantom, run)
    deadline = time.monotonic() + 300
    while not (last.is_file() and torch.load(last, weights_only=True)["global_step"] >= 2 * EVERY):
        assert victim.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    kept = torch.load(last, weights_only=True)
    reached, in_epoch = kept["global_step"], kept["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    assert 2 * EVERY <= reached < STEPS and not in_epoch["is_last_batch"], "the kill came too late to test anything"
    before = trained_steps(run)
    again = start(tmp_path, phantom, run)
    _, messages = again.communicate(timeout=300)
    assert again.returncode == 0 and f"at step {reached}" in messages
    after = trained_steps(run)
    assert before[0] == 0 and after == list(range(reached, STEPS)) and len(set(before) & set(after)) <= EVERY
    ends = [torch.load(tmp_path / n / "checkpoints" / "last.ckpt", weights_only=True) for n in ("whole", "killed")]
    assert ends[0]["global_step"] == ends[1]["global_step"] == STEPS
    assert all(torch.equal(value, ends[1]["state_dict"][name]) for name, value in ends[0]["state_dict"].items())
    moments = [end["optimizer_states"][0]["state"] for end in ends]
    for key, slots in moments[0].items():
        assert all(torch.equal(value, moments[1][key][name]) for name, value in slots.items())
