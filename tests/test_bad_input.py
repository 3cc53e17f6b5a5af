"""Damaged data and diverging training, through the command line: exit code 1 and one line."""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from demo_run import demo_arguments

from data_modules.phantom import write_phantom
from mpma_lightning.cli.main import main
from mpma_lightning.tasks.pretraining import PretrainingTask


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sound")
    write_phantom(out, patients=12, seed=3, size=64, workers=1)
    return out


@pytest.fixture
def phantom(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "phantom"))


def fit(phantom: Path, run: Path, *more: str, workers: int = 0) -> int:
    steps = ["--trainer.max_steps", "3", "--trainer.limit_val_batches", "0", *more]
    return main(["fit", *demo_arguments(phantom, run, *steps, workers=workers)])


def error(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ") and sum(line.startswith(("error: ", "Traceback")) for line in lines) == 1
    return lines[-1].removeprefix("error: ")


def table(phantom: Path, name: str) -> Path:
    return phantom / "mimic-cxr-jpg" / f"mimic-cxr-2.0.0-{name}.csv.gz"


def training_images(phantom: Path) -> list[Path]:
    """Frontal films of the training split."""
    frame = pd.read_csv(table(phantom, "split"), dtype=str).merge(pd.read_csv(table(phantom, "metadata"), dtype=str))
    frame = frame[(frame["split"] == "train") & frame["ViewPosition"].isin(["PA", "AP"])]
    files = phantom / "mimic-cxr-jpg" / "files"
    return [next(files.rglob(f"{name}.jpg")) for name in frame["dicom_id"]]


def report_of(phantom: Path, image: Path) -> Path:
    return next((phantom / "mimic-cxr").rglob(f"{image.parent.name}.txt"))


def remove_root(phantom: Path) -> str:
    shutil.rmtree(phantom / "mimic-cxr-jpg")
    return f"{phantom}/mimic-cxr-jpg: folder not found; set data.image_root"


def remove_study(phantom: Path) -> str:
    study = training_images(phantom)[0].parent
    shutil.rmtree(study)
    return f"first missing: {study}"


def remove_column(phantom: Path) -> str:
    path = table(phantom, "metadata")
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"ViewPosition", b"View")))
    return f"{path}: found no column ViewPosition (nearest: View) among"


def write_latin(phantom: Path) -> str:
    """Every report: a single one would be left out and counted."""
    for image in training_images(phantom):
        report_of(phantom, image).write_bytes(b"x\n IMPRESSION: 38\xb0C, no change.\n")
    return "found byte 0xb0 at position 17, expected utf-8"


@pytest.mark.parametrize("damage", [remove_root, remove_study, remove_column, write_latin])
def test_error_damaged_data(
    damage: Callable[[Path], str], phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = damage(phantom)
    assert fit(phantom, tmp_path / "run") == 1
    assert expected in error(capsys)


@pytest.mark.parametrize("workers", [0, 2])
def test_error_truncated_image(workers: int, phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for image in training_images(phantom):
        image.write_bytes(image.read_bytes()[:-200])
    assert fit(phantom, tmp_path / "run", workers=workers) == 1
    message = error(capsys)
    assert message.startswith(str(phantom)) and ".jpg: broken image (" in message and "(sample " in message


def test_value_unusable_reports_are_counted_drops(phantom: Path, tmp_path: Path) -> None:
    first, second, *_ = dict.fromkeys(report_of(phantom, image) for image in training_images(phantom))
    first.write_text("\n")
    second.write_text("  FINAL REPORT\n EXAM: CHEST.\n")
    assert fit(phantom, tmp_path / "run", "--trainer.max_steps", "1") == 0
    dropped = json.loads((tmp_path / "run" / "results.json").read_text())["dropped"]
    assert dropped["report empty"] >= 1 and dropped["report without findings or impression"] >= 1


@pytest.fixture(scope="module")
def trained(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("trained")
    assert fit(sound, run, "--trainer.max_steps", "1") == 0
    return run / "checkpoints" / "last.ckpt"


@pytest.mark.parametrize("option", ["--model.checkpoint", "--ckpt_path"])
def test_error_another_architecture(
    option: str, trained: Path, sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(sound, tmp_path, option, str(trained), "--model.backbone.text.depth", "2") == 1
    message = error(capsys)
    assert str(trained) in message and "text.depth: " in message


@pytest.mark.parametrize("option", ["--model.checkpoint", "--ckpt_path"])
def test_error_checkpoint_cut_short(
    option: str, trained: Path, sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cut.ckpt").write_bytes(trained.read_bytes()[:-4000])
    assert fit(sound, tmp_path, option, str(tmp_path / "cut.ckpt")) == 1
    assert "cut.ckpt cannot be read (" in error(capsys)


DIVERGE = ("--model.optim.lr", "1e30", "--model.optim.warmup", "0", "--trainer.gradient_clip_val", "null")


def test_error_non_finite_loss(sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = f"{{dirpath: {tmp_path}/each, every_n_train_steps: 1, save_top_k: -1}}"
    each = f"{{class_path: ModelCheckpoint, init_args: {options}}}"
    assert fit(sound, tmp_path, *DIVERGE, "--trainer.callbacks+", each) == 1
    message = error(capsys)
    assert message.startswith("the loss is not finite at step 1 (image_reconstruction_loss nan, ")
    assert f"fit --config {tmp_path}/config.yaml --config experiments/debug/anomaly.yaml" in message
    samples = message.partition("samples of the batch: ")[2].partition(". ")[0].split(", ")
    assert len(samples) == 4 and all(list(sound.rglob(f"{name}.jpg")) for name in samples)
    (kept,) = tmp_path.rglob("*.ckpt")
    state = torch.load(kept, weights_only=True)
    assert state["global_step"] == 1 and all(torch.isfinite(value).all() for value in state["state_dict"].values())


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--model.check_every", "0", "model.check_every is 0; expected at least 1"),
        (
            "--model.masking.image_ratio",
            "0",
            "model.masking.image_ratio is 0.0; expected more than 0 and less than 1, or",
        ),
        ("--model.masking.image_ratio", "-1", "model.masking.image_ratio is -1.0; expected more than 0 and less"),
        ("--model.masking.report_ratio", "1", "masking.report_ratio is 1.0; expected 0 <= ratio < 1"),
        ("--model.backbone.image.options", "{dpth: 1}", "image.options names 'dpth', which is not one of the options"),
        ("--model.backbone.image.options", "{num_heads: 3}", "dim should be divisible by num_heads); correct these"),
    ],
)
def test_error_settings_out_of_range(
    option: str, value: str, told: str, sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(sound, tmp_path, option, value) == 1
    assert told in error(capsys)


def test_error_non_finite_features_at_validation(
    sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    validate = ("--trainer.val_check_interval", "1", "--trainer.limit_val_batches", "1.0")
    assert fit(sound, tmp_path, *DIVERGE, *validate) == 1
    assert "features of the evaluation are not finite at step 1: training has diverged" in error(capsys)


def test_error_more_steps_between_validations_than_an_epoch_has(
    sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_epoch = ("--trainer.check_val_every_n_epoch", "1", "--trainer.limit_val_batches", "1.0")
    assert fit(sound, tmp_path, "--trainer.val_check_interval", "99", *by_epoch) == 1
    assert "trainer: `val_check_interval` (99) must be less than or equal to" in error(capsys)


def test_error_non_finite_weights_never_replace_a_checkpoint(
    sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fit(sound, tmp_path, "--trainer.max_steps", "1") == 0
    last = tmp_path / "checkpoints" / "last.ckpt"
    before = last.read_bytes()

    def break_gradient(task: PretrainingTask, optimizer: torch.optim.Optimizer) -> None:
        next(iter(task.parameters())).grad.fill_(torch.nan)  # type: ignore[union-attr]

    monkeypatch.setattr(PretrainingTask, "on_before_optimizer_step", break_gradient)
    assert fit(sound, tmp_path, "--trainer.max_steps", "2") == 1
    assert "weights are not finite at step 2 (first: " in error(capsys)
    assert last.read_bytes() == before


EPOCHS = ("--trainer.max_steps", "-1", "--trainer.max_epochs", "2", "--data.batch_size", "2")


@pytest.fixture
def spoilt(sound: Path, tmp_path: Path) -> tuple[Path, str]:
    """A phantom with one training image cut short, and that image's id."""
    phantom = Path(shutil.copytree(sound, tmp_path / "phantom"))
    image = training_images(phantom)[0]
    image.write_bytes(image.read_bytes()[:200])
    return phantom, image.stem


def test_value_corrupted_image_skipped(spoilt: tuple[Path, str], tmp_path: Path) -> None:
    phantom, _ = spoilt
    with pytest.warns(UserWarning, match="1 training samples cannot be read and are skipped"):
        assert fit(phantom, tmp_path / "run", *EPOCHS, "--bad_samples.policy", "skip") == 0
    row = json.loads((tmp_path / "run" / "results.json").read_text())
    assert row["metrics"]["train/skipped_samples"] == 1 and row["steps"] == 2 * (row["split_sizes"]["train"] // 2)
    assert row["cost"]["samples_per_second"] > 0 and row["cost"]["text_tokens_per_second"] > 0
    assert row["cost"]["flops_per_second"] > 0 and 0 <= row["cost"]["data_wait_share"] <= 1


def test_error_corrupted_image(spoilt: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    phantom, name = spoilt
    assert fit(phantom, tmp_path / "run", *EPOCHS) == 1
    assert f"(sample {name})" in error(capsys)


def test_value_truncated_last_falls_back(sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "checkpoints"
    options = f"{{dirpath: {folder}, filename: '{{step}}', every_n_train_steps: 1, save_top_k: 1}}"
    each = ("--trainer.callbacks+", f"{{class_path: ModelCheckpoint, init_args: {options}}}")
    assert fit(sound, tmp_path, *each, "--trainer.max_steps", "2") == 0
    last = folder / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-3000])
    with pytest.warns(
        UserWarning, match=r"last\.ckpt cannot be read \(.*Taking .*step=2\.ckpt \(step 2\) in its place"
    ):
        assert fit(sound, tmp_path, *each, "--trainer.max_steps", "3") == 0
    assert torch.load(last, weights_only=True)["global_step"] == 3
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:-3000])
    assert fit(sound, tmp_path, *each, "--trainer.max_steps", "4") == 1
    assert "last.ckpt cannot be read (" in error(capsys)
