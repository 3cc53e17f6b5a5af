"""SIGKILL at random moments, again and again: the same command continues and ends where the undisturbed run ends."""

import csv
import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import forked
import pytest
import torch
from demo_run import DEMO
from test_kill import EVERY, SETTINGS

from data_modules.phantom import write_phantom
from mpma_lightning.cli import training as training_command
from mpma_lightning.cli.main import main

PATIENCE, GRACE = 1800, 60
"""Seconds: for a run, and for the other processes of one that was killed, which torchrun then ends."""


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in training_command._HOLDING_CLASSES:
        training_command.import_all(package)  # once, before any process is forked
    out = tmp_path_factory.mktemp("phantom")
    write_phantom(out, patients=40, seed=3, size=64, workers=1)
    return out


def begin(phantom: Path, run: Path, world: int, steps: int) -> list[BaseProcess]:
    """The processes of a run, as torchrun starts several."""
    (run.parent / "settings.yaml").write_text(SETTINGS)
    (run / "metrics.csv").unlink(missing_ok=True)
    arguments = ["fit", "--trainer.default_root_dir", str(run)]
    for config in (DEMO, run.parent / "settings.yaml"):
        arguments += ["--config", str(config)]
    arguments += ["--data.image_root", f"{phantom}/mimic-cxr-jpg", "--data.report_root", f"{phantom}/mimic-cxr"]
    arguments += [
        "--trainer.max_steps",
        str(steps),
        "--model.backbone.image.size",
        "64",
        "--data.batch_size",
        str(8 // world),
    ]
    arguments += ["--model.backbone.image.options", "{depth: 1}", "--model.backbone.text.depth", "1"]
    if world > 1:
        arguments += ["--trainer.devices", str(world), "--trainer.strategy", "ddp"]
    return forked.start(world, lambda: main(arguments))


def losses(run: Path) -> dict[int, str]:
    """Loss by step that the latest start of the run wrote; a line may be cut short by a kill."""
    try:
        with (run / "metrics.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row.get("train/loss") and row["step"]]
    except FileNotFoundError:
        return {}
    return {int(row["step"]): row["train/loss"] for row in rows if None not in row.values()}


def kept_step(run: Path) -> int:
    last = run / "checkpoints" / "last.ckpt"
    return int(torch.load(last, weights_only=True)["global_step"]) if last.is_file() else 0


def disturb(phantom: Path, run: Path, world: int, steps: int, draw: random.Random) -> tuple[int, int]:
    """Kill one process of the run at a random moment; the step it had reached and the one it will continue at."""
    processes, begun = begin(phantom, run, world, steps), kept_step(run)
    rows, start, moment = draw.randint(0, EVERY + 2), time.monotonic(), draw.random()
    while len(losses(run)) < rows and all(process.is_alive() for process in processes):
        assert time.monotonic() - start < PATIENCE
        time.sleep(0.02)
    time.sleep(moment * (0.2 if rows else 10))  # somewhere in a step, in a checkpoint, or in the start
    victim = draw.choice(processes)
    victim.kill()
    victim.join()
    codes = forked.end(processes, GRACE)
    assert codes[processes.index(victim)] == -signal.SIGKILL and 0 not in codes, codes
    kept = kept_step(run)
    return max(max(losses(run), default=begun - 1) + 1, kept), kept  # the row of a step follows its checkpoint


def same(one: object, other: object) -> bool:
    """Bit for bit, through dictionaries and lists."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))  # type: ignore[arg-type]
    return one == other


@pytest.mark.full
@pytest.mark.parametrize(("world", "kills"), [(1, 20), (2, 5)])
def test_value_killed_again_and_again_ends_bit_identical(world: int, kills: int, phantom: Path, tmp_path: Path) -> None:
    whole, run, steps = tmp_path / "whole", tmp_path / "killed", 8 * kills
    assert forked.end(begin(phantom, whole, world, steps), PATIENCE) == [0] * world
    undisturbed, draw = losses(whole), random.Random(world)
    assert list(undisturbed) == list(range(steps))
    repeated, moments = 0, []
    for _ in range(kills):
        reached, kept = disturb(phantom, run, world, steps, draw)
        moments.append((reached, kept))
        assert 0 <= reached - kept <= EVERY, moments
        assert losses(run).items() <= undisturbed.items()  # the same samples, masks and weights, step by step
        repeated += reached - kept
    assert forked.end(begin(phantom, run, world, steps), PATIENCE) == [0] * world
    assert losses(run).items() <= undisturbed.items()
    ends = [torch.load(f / "checkpoints" / "last.ckpt", weights_only=True) for f in (whole, run)]
    assert ends[0]["global_step"] == ends[1]["global_step"] == steps
    for key in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert same(ends[0][key], ends[1][key]), key
    assert same(*(e["loops"]["fit_loop"]["state_dict"]["combined_loader"] for e in ends))
    print(f"\n{world} processes, {kills} kills at (step, continued at): {moments}; {repeated} steps repeated")
