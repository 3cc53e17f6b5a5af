"""Two processes through the Trainer do what one does: the same weights after training, the same validation figures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from demo_run import ROOT, demo_arguments

from data_modules.phantom import write_phantom

DDP = ("--trainer.devices", "2", "--trainer.strategy", "ddp")
ON_BATCH_MATES = (  # negatives and partners come from the batch that a process holds
    "loss",
    "global_alignment_loss",
    "local_alignment_loss",
    "in_batch_retrieval",
    "local_gap",
    "finding_word_accuracy_shuffled_image",
)


LOSSES = ("loss", "image_reconstruction_loss", "report_reconstruction_loss", "global_alignment_loss")


def command(name: str, phantom: Path, run: Path, *more: str) -> str:
    """Of the demo's pre-training; see :func:`run_cli`."""
    return run_cli(name, *demo_arguments(phantom, run, "--model.backbone.image.size", "64", *more))


def run_cli(*words: str) -> str:
    """Run it in a process of its own, as a user does; its stderr."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "mpma_lightning", *words], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def metrics(path: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads(path.read_text())["metrics"]
    return found


def gradients(checkpoint: Path) -> torch.Tensor:
    """AdamW's running mean of the gradients, all parameters in one vector."""
    state = torch.load(checkpoint, weights_only=True)["optimizer_states"][0]["state"]
    return torch.cat([state[key]["exp_avg"].flatten() for key in sorted(state)])


@pytest.mark.full
def test_value_two_processes_equal_one(tmp_path: Path) -> None:
    phantom, one, two = tmp_path / "phantom", tmp_path / "one", tmp_path / "two"
    write_phantom(phantom, patients=60, seed=3, size=64, workers=1)
    steps = ["--trainer.max_steps", "3", "--trainer.val_check_interval", "3", "--trainer.log_every_n_steps", "1"]
    steps += ["--model.optim.lr", "1e-6"]  # the weights hardly move, so that AdamW does not blow up rounding
    steps += ["--model.objectives.local_alignment.negatives", "pair"]  # `batch` means the batch of a process
    command("fit", phantom, one, *steps, "--data.batch_size", "8")
    messages = command("fit", phantom, two, *steps, *DDP)
    assert messages.count("MIMICCXRDataModule: train") == 1 and "sync_dist" not in messages
    assert len(list(two.rglob("results.json"))) == len(list(two.rglob("events.out.*"))) == 1
    last = one / "checkpoints" / "last.ckpt"
    moments = [gradients(run / "checkpoints" / "last.ckpt") for run in (one, two)]
    assert (moments[0] - moments[1]).norm() < 1e-3 * moments[0].norm()
    alone, shared = (metrics(run / "results.json") for run in (one, two))
    for name in LOSSES:
        assert shared[f"train/{name}"] == pytest.approx(alone[f"train/{name}"], abs=1e-4)

    command("validate", phantom, one, "--ckpt_path", str(last), "--data.batch_size", "8")
    command("validate", phantom, two, "--ckpt_path", str(last), *DDP)
    alone, shared = (metrics(run / "results_validate.json") for run in (one, two))
    assert set(alone) == set(shared) and alone["val/pairs"] == 8
    same = {n: v for n, v in alone.items() if n.removeprefix("val/") not in ON_BATCH_MATES}
    assert {"val/pairs", "val/i2t_r1", "val/i2t_r10", *(f"val/{name}" for name in LOSSES[1:3])} <= set(same)
    assert {name: shared[name] for name in same} == pytest.approx(same, abs=1e-4)


@pytest.mark.full
def test_value_retrieval_over_two_processes_equals_one(tmp_path: Path) -> None:
    """Dual and rerank, an odd number of pairs: every figure, α and the number of fused pairs."""
    phantom, run = tmp_path / "phantom", tmp_path / "run"
    write_phantom(phantom, patients=60, seed=3, size=64, workers=1, layouts="roco")
    retrieval = ["--config", str(ROOT / "experiments" / "demo" / "retrieval.yaml")]
    words = [*retrieval, "--data.root", str(phantom / "layouts" / "roco"), "--data.num_workers", "0"]
    words += [
        "--model.checkpoint",
        "null",
        "--model.backbone.name",
        "mpma_vit_t16",
        "--model.backbone.image.size",
        "64",
    ]
    words += ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    fit = ["--trainer.max_steps", "4", "--trainer.val_check_interval", "4", "--data.batch_size", "8"]
    run_cli("fit", *words, *fit, "--trainer.default_root_dir", str(run))
    found = []
    for name, more in (("one", ["--data.batch_size", "8"]), ("two", ["--data.batch_size", "4", *DDP])):
        out = [
            "--trainer.default_root_dir",
            str(tmp_path / name),
            "--ckpt_path",
            str(run / "checkpoints" / "last.ckpt"),
        ]
        run_cli("test", *words, *more, *out, "--model.shortlist", "4")
        found.append(metrics(tmp_path / name / "results_test.json"))
    on_batch_mates = ("test/loss", "test/contrast_loss", "test/matching_loss", "test/matching_accuracy")
    one, two = ({n: v for n, v in some.items() if n not in on_batch_mates} for some in found)
    assert one["test/pairs"] > 10 and "test/rerank/i2t_map" in one
    assert two == pytest.approx(one, abs=1e-4)
