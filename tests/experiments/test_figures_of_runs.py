"""`figure` opens a real run, draws it from its own checkpoint, and changes nothing of it."""

from pathlib import Path

import pytest

from mpma_lightning.cli.main import main

OTHERS = ("reconstruction", "masked_report", "similarity", "word_maps", "slots", "embedding")


def files(run: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file() and "figures" not in path.parts}


def test_value_chosen_films_at_chosen_ratios(
    trained: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = trained[0], tmp_path / "ratios.svg"
    before = files(run)
    words = ["figure", "mask_ratios", str(run), "--ratios", "0.25", "0.5", "--out", str(out)]
    assert main([*words, "--ids", "nobody"]) == 1 and not out.exists()
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: --ids nobody: no sample of the val split; there is: ")
    known = line.partition("there is: ")[2].split(", ")[1]
    assert main([*words, "--ids", known]) == 0
    told, captured = out.with_suffix(".txt").read_text(), capsys.readouterr()
    assert f"Run {run.name}: checkpoint last.ckpt of step 4, protocol pretraining." in told
    assert f"Data: MIMICCXRDataModule, a phantom, val split. Samples: {known}." in told and told == captured.out
    assert "patients" not in captured.err, "the phantom has none"
    assert "error:" in told.lower() and files(run) == before, "a run stays as it was"
    assert main(["figure", "answers", str(run)]) == 1
    assert "is of PretrainingTask, which draws" in (said := capsys.readouterr().err.splitlines()[-1])
    assert said.endswith("no answers") and not (run / "figures").exists()


@pytest.mark.full
@pytest.mark.parametrize("kind", OTHERS)
def test_smoke_every_kind_of_a_pre_training(kind: str, trained: tuple[Path, list[str]], tmp_path: Path) -> None:
    out = tmp_path / f"{kind}.png"
    assert main(["figure", kind, str(trained[0]), "--out", str(out)]) == 0
    assert out.stat().st_size > 10_000 and "of step 4, protocol pretraining" in out.with_suffix(".txt").read_text()
