"""A full disk at what each small command writes: one line, nothing half, and the same command works afterwards."""

from pathlib import Path

import pytest
from full_disk import full_disk
from toy_run import fit, toy

from data_modules.pairs import PairsDataModule
from data_modules.phantom import write_phantom
from mpma_lightning.cli.main import main


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom")
    write_phantom(out, patients=12, seed=3, size=64, workers=1, layouts="pairs")
    return out / "layouts" / "pairs"


def commands(pairs: Path, out: Path) -> dict[str, list[str]]:
    return {
        "tokenizer": ["tokenizer", "--texts", str(pairs / "pairs.csv"), "--out", str(out / "t.json")],
        "split": ["split", "pairs", "--root", str(pairs), "--out", str(out / "split.csv")],
        "check": ["check", "pairs", "--root", str(pairs), "--json", str(out / "check.json")],
        "prepare": ["prepare", "pairs", "--root", str(pairs), "--out", str(out / "store"), "--workers", "1"],
        "phantom": ["phantom", "--out", str(out / "phantom"), "--patients", "3", "--size", "64", "--workers", "1"],
    }


@pytest.mark.parametrize("name", ["tokenizer", "split", "check", "phantom", "prepare"])
def test_error_full_disk(name: str, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = commands(pairs, out)[name]
    with full_disk(60):
        assert main(words) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ") and "File too large" in lines[-1] and str(out) in lines[-1]
    assert name in ("phantom", "prepare") or not list(out.iterdir()), "nothing half"
    assert not (out / "store").exists()
    assert not list(out.rglob("*.csv*")) and not list(out.rglob("*.partial"))
    assert main(words) == 0 or name == "check"
    assert "exists" not in capsys.readouterr().err


@pytest.mark.parametrize(("left", "file"), [(60, "plan.json"), (3000, ".arrow")])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_error_full_disk_at_each_file_of_a_store(
    left: int, file: str, workers: str, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that names what could not be written; the same command then continues and gives a whole store."""
    out = tmp_path / "store"
    words = ["prepare", "pairs", "--root", str(pairs), "--out", str(out), "--payload", "raw", "--short_side", "32"]
    with full_disk(left):
        code = main([*words, "--workers", workers])
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 1 and line.startswith("error: ") and "File too large" in line and file in line
    assert not out.exists() and not list(tmp_path.rglob("*.partial"))
    assert main([*words, "--workers", workers]) == 0 and not list(tmp_path.glob("*.part"))
    data = PairsDataModule(str(out), image_size=32, num_workers=0)
    data.setup()
    assert data.index is not None and len(data.samples("train")) > 0


def test_error_layouts_are_read_before_anything_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["phantom", "--out", str(tmp_path / "out"), "--layouts", "pairs,nosuch"]) == 1
    assert "found --layouts nosuch" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_value_the_data_set_is_the_word_of_no_option(pairs: Path, tmp_path: Path) -> None:
    for words in (["--root", str(pairs), "pairs"], [f"--root={pairs}", "pairs"]):
        assert main(["split", *words, "--out", str(tmp_path / f"{len(words)}.csv")]) == 0
    assert (tmp_path / "2.csv").read_bytes() == (tmp_path / "3.csv").read_bytes()


def test_error_full_disk_at_the_record_of_a_run(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with full_disk(300):
        assert fit("--trainer.logger", "false", "--trainer.enable_checkpointing", "false") == 1
    run = toy / "runs" / "toy" / "first"
    assert "config.yaml could not be written (File too large)" in capsys.readouterr().err.splitlines()[-1]
    assert not list(run.glob("*.yaml")) and not list(run.rglob("*.partial"))
    assert fit() == 0 and (run / "config.yaml").is_file()


__all__ = ["toy"]
