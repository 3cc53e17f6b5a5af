"""Faults, again and again: kills, full disks, two processes in one folder, damaged checkpoints."""

import csv
import errno
import json
import os
import random
import re
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from multiprocessing.process import BaseProcess
from pathlib import Path

import forked
import pytest
import torch
from demo_run import DEMO, demo_arguments
from test_kill import EVERY, SETTINGS
from toy_run import fit, toy

from data_modules import files
from data_modules.phantom import write_phantom
from mpma_lightning.backbones.tensor_files import read_file
from mpma_lightning.cli import training as training_command
from mpma_lightning.cli.main import main

pytestmark = pytest.mark.full
PATIENCE, GRACE = 1800, 60
"""Seconds: for a run, and for the other processes of one that was killed, which torchrun then ends."""


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in training_command._HOLDING_CLASSES:
        training_command.import_all(package)  # once, before any process is forked
    out = tmp_path_factory.mktemp("phantom")
    write_phantom(out, patients=40, seed=3, size=64, workers=1)
    return out


def same(one: object, other: object) -> bool:
    """Bit for bit, through dictionaries and lists."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))  # type: ignore[arg-type]
    return one == other


# SIGKILL at random moments: the same command continues and ends where the undisturbed run ends


def begin(phantom: Path, run: Path, world: int, steps: int) -> list[BaseProcess]:
    """The processes of a run, as torchrun starts several."""
    (run.parent / "settings.yaml").write_text(SETTINGS)
    (run / "metrics.csv").unlink(missing_ok=True)
    arguments = ["fit", "--trainer.default_root_dir", str(run)]
    for config in (DEMO, run.parent / "settings.yaml"):
        arguments += ["--config", str(config)]
    arguments += ["--data.image_root", f"{phantom}/mimic-cxr-jpg", "--data.report_root", f"{phantom}/mimic-cxr"]
    arguments += ["--trainer.max_steps", str(steps), "--data.batch_size", str(8 // world)]
    arguments += ["--model.backbone.image.size", "64"]
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


@pytest.mark.parametrize(("world", "kills"), [(1, 20), (2, 3)])
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


# a full disk at every file that a command writes, one after another


@contextmanager
def full_at(number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The disk takes no more from the ``number``-th file on (never: -1); yields the names of the files written."""
    names: list[str] = []
    bring_to_disk = os.fsync

    def fsync(file: int) -> None:
        names.append(Path(f"/proc/self/fd/{file}").readlink().name.removeprefix(".").rpartition(".")[0][:-13])
        if len(names) > number >= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        bring_to_disk(file)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", fsync)
        yield names


def check_whole(folder: Path) -> None:
    """Every file below ``folder`` can be read to its end."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in found if path.name.endswith(".partial")]
    for path in found:
        if path.suffix == ".ckpt":
            read_file(path, mmap=True)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix not in (".lock", "") and "events" not in path.name:
            assert path.stat().st_size > 0, path


def commands(name: str, phantom: Path, out: Path) -> list[str]:
    short = ("--trainer.max_steps", "2", "--trainer.limit_val_batches", "0", "--trainer.limit_test_batches", "1")
    run = demo_arguments(phantom, out / "runs" / "a", *short, "--model.backbone.image.size", "64")
    texts = str(next((phantom / "mimic-cxr").rglob("*.txt")).parent)
    roots = ["--data.report_root", f"{phantom}/mimic-cxr"]
    return {
        "fit": ["fit", *run],
        "test": ["test", *run],
        "report": ["report", str(out / "runs")],
        "split": ["split", "mimic_cxr", "--root", f"{phantom}/mimic-cxr-jpg", *roots, "--out", str(out / "split.csv")],
        "tokenizer": ["tokenizer", "--texts", texts, "--out", str(out / "t.json")],
        "phantom": ["phantom", "--out", str(out / "phantom"), "--patients", "3", "--size", "64", "--workers", "1"],
    }[name]


WRITTEN = {
    "fit": {".owner.json", "config.yaml", "versions.json", "last.ckpt", "results.json"},
    "test": {"test.yaml", "test.versions.json", "results_test.json"},
    "report": {"report.md", "report.csv", "report.tex", "report.html"},
    "split": {"split.csv"},
    "tokenizer": {"t.json"},
    "phantom": set(),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_error_full_disk_at_every_file(
    name: str, phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tmp_path / "before"
    before.mkdir()
    for needed in {"test": ["fit"], "report": ["fit", "test"]}.get(name, []):
        assert main(commands(needed, phantom, before)) == 0

    def prepared(place: str) -> list[str]:
        """The command in a folder of its own, where the commands that it needs have run."""
        shutil.copytree(before, tmp_path / place)
        return commands(name, phantom, tmp_path / place)

    words = prepared("whole")
    with full_at(-1, monkeypatch) as names:
        assert main(words) == 0
    assert set(names) >= WRITTEN[name] and names
    for number, file in enumerate(names):
        if number > 12 and name == "phantom":  # the others are images like these
            break
        words = prepared(str(number))
        capsys.readouterr()
        with full_at(number, monkeypatch):
            code = main(words)
        *_, line = capsys.readouterr().err.strip().splitlines()
        assert (code, line[:7]) == (1, "error: ") and "No space left on device" in line, (file, code, line)
        check_whole(tmp_path / str(number))
        assert main(words) == 0, file
        check_whole(tmp_path / str(number))


# two processes in one run folder


@pytest.mark.parametrize("_", range(10))
def test_error_of_two_at_once_one_writes(_: int, phantom: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["fit", *demo_arguments(phantom, run, "--trainer.max_steps", "3", "--trainer.limit_val_batches", "0")]

    def work(number: int) -> Callable[[], int]:
        def start() -> int:
            with (tmp_path / f"{number}.err").open("w") as file, redirect_stderr(file):
                return main(arguments)

        return start

    processes = [forked.start(1, work(number))[0] for number in range(2)]
    codes = forked.end(processes, PATIENCE)
    assert sorted(codes, key=str) == [0, 1], codes
    winner, loser = codes.index(0), codes.index(1)
    *_, line = (tmp_path / f"{loser}.err").read_text().strip().splitlines()
    holder = f"process {processes[winner].pid} on {re.escape(socket.gethostname())}, since 20"
    assert re.match(rf"error: {run} is being written by another fit \({holder}", line), line
    assert json.loads((run / "results.json").read_text())["steps"] == 3
    check_whole(run)


# one flipped bit


@pytest.mark.usefixtures("toy")
def test_error_a_flipped_bit_is_never_resumed() -> None:
    """At each of twenty places of ``last.ckpt``: the run says so, continues from the one before, and ends the same."""
    keep = "{dirpath: runs/toy/first/checkpoints, every_n_train_steps: 2, save_last: true}"
    kept = f"--trainer.callbacks=[{{class_path: ModelCheckpoint, init_args: {keep}}}]"
    assert fit(kept) == 0
    run = Path("runs/toy/first")
    last = run / "checkpoints" / "last.ckpt"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    more = ("--trainer.max_steps", "5")
    assert fit(kept, *more) == 0
    undisturbed = torch.load(last, weights_only=True)
    part = len(before[last]) * 8 // 20
    for place in range(20):
        for path in list(run.rglob("*.ckpt")):
            path.unlink()
        for path, content in before.items():
            path.write_bytes(content)
        bit = random.Random(place).randrange(place * part, (place + 1) * part)
        content = bytearray(before[last])
        content[bit // 8] ^= 1 << bit % 8
        last.write_bytes(content)
        with pytest.warns(UserWarning, match=r"last\.ckpt cannot be read \(.*Taking .*step=2\.ckpt \(step 2\)"):
            assert fit(kept, *more) == 0
        found = torch.load(last, weights_only=True)
        assert found["global_step"] == 5 and same(found["state_dict"], undisturbed["state_dict"]), place


__all__ = ["toy"]
