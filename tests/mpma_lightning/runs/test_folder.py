"""A run is found by its place, never by search."""

from pathlib import Path

import pytest
import torch
from toy_run import EXPERIMENT, fit, toy, write

from data_modules.errors import UserError
from mpma_lightning.cli.main import main
from mpma_lightning.runs.folder import Run


def save(run: Path, name: str, step: int, best: str = "", record: bool = True) -> Path:
    path = run / "checkpoints" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    callbacks = {"ModelCheckpoint": {"monitor": "val/loss", "best_model_path": best}}
    torch.save({"global_step": step, "state_dict": {}, "callbacks": callbacks}, path)
    if record:
        (run / "config.yaml").touch()
    return path


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def test_value_a_nested_run_is_another_run(tmp_path: Path) -> None:
    save(tmp_path / "demo" / "pretraining", "last.ckpt", 9)
    assert Run(tmp_path / "demo").last() is None and not Run(tmp_path / "demo").checkpoints()
    (tmp_path / "demo" / "last.ckpt").touch()
    (tmp_path / "demo" / "ck").mkdir()
    (tmp_path / "demo" / "ck" / "last.ckpt").touch()
    assert Run(tmp_path / "demo").last() is None


def test_error_checkpoints_without_a_record(tmp_path: Path) -> None:
    save(tmp_path, "last.ckpt", 9, record=False)
    with pytest.raises(UserError, match=r"config\.yaml, the record of their run, is not there: copy it back, or"):
        Run(tmp_path).last()


def test_value_after_damage_the_most_steps_win_whatever_the_time(tmp_path: Path) -> None:
    last = save(tmp_path, "last.ckpt", 10)
    eight, two, nine = (save(tmp_path, f"step={n}.ckpt", n) for n in (8, 2, 9))
    assert Run(tmp_path).last() == last
    cut(last)
    cut(nine)
    with pytest.warns(UserWarning, match=r"last\.ckpt cannot be read \(.*Taking .*step=8\.ckpt \(step 8\) in its"):
        assert Run(tmp_path).last() == eight
    last.unlink()
    with pytest.warns(UserWarning, match=r"last\.ckpt is not there\. Taking .*step=8\.ckpt"):
        assert Run(tmp_path).last() == eight
    cut(eight)
    cut(two)
    with pytest.raises(UserError, match=r"no checkpoint in .* can be read"):
        Run(tmp_path).last()


def test_value_best(tmp_path: Path) -> None:
    best = save(tmp_path, "best.ckpt", 3)
    save(tmp_path, "last.ckpt", 9, best="/moved/since/checkpoints/best.ckpt")
    assert Run(tmp_path).best() == Run(tmp_path).best_or_refuse() == best
    best.unlink()
    assert Run(tmp_path).best() is None
    with pytest.raises(UserError, match="knows no best checkpoint"):
        Run(tmp_path).best_or_refuse()
    with pytest.raises(UserError, match="holds no checkpoint: run fit first"):
        Run(tmp_path / "other").best_or_refuse()


@pytest.mark.usefixtures("toy")
def test_value_an_experiment_beside_the_folder_of_its_name(caplog: pytest.LogCaptureFixture) -> None:
    for path in ("experiments/mine/first.yaml", "experiments/mine.yaml"):
        assert main(["fit", "--config", write(path, EXPERIMENT)]) == 0
    assert "continuing" not in caplog.text
    assert all(Path(run, "checkpoints/last.ckpt").is_file() for run in ("runs/mine", "runs/mine/first"))


@pytest.mark.usefixtures("toy")
def test_error_the_record_is_gone(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit() == 0
    Path("runs/toy/first/config.yaml").unlink()
    for subcommand in ("fit", "test"):
        assert main([subcommand, "--config", "experiments/toy/first.yaml"]) == 1
        assert "the record of their run, is not there" in capsys.readouterr().err


@pytest.mark.usefixtures("toy")
def test_error_last_where_it_would_not_be_found(capsys: pytest.CaptureFixture[str]) -> None:
    options = "{dirpath: elsewhere, save_last: true}"
    assert fit(f"--trainer.callbacks=[{{class_path: ModelCheckpoint, init_args: {options}}}]") == 1
    assert "set dirpath to ${trainer.default_root_dir}/checkpoints" in capsys.readouterr().err
    assert not Path("elsewhere").exists()


__all__ = ["toy"]
