"""What a command prints at its end, and the command that it names."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from mpma_lightning.callbacks.predictions import Predictions
from mpma_lightning.cli.close import close
from mpma_lightning.cli.main import PROG, python
from mpma_lightning.evaluation.metric import Metric
from mpma_lightning.predictions.table import TableWriter
from mpma_lightning.runs.result import ResultRecord

WORDS = [
    "--config",
    "a.yaml",
    "--non_finite.skip",
    "3",
    "--data.root",
    "my data",
    "--ckpt_path=null",
    "--trainer.max_steps=-1",
]
KEPT = "--config a.yaml --data.root 'my data' --trainer.max_steps=-1"
AUROC = Metric("auroc", unit="share", headline=True, baseline=0.5)


def said(
    command: str, folder: Path, capsys: pytest.CaptureFixture[str], every: bool = False, test: int = 9
) -> list[str]:
    stage = "test" if command == "test" else "val"
    record = ResultRecord()
    record.record = {
        "dataset": "X",
        "split_sizes": {"val": 4, "test": test},
        "steps": 3,
        "weights": "last.ckpt",
        "metrics": {} if command == "predict" else {f"{stage}/auroc": 0.75, f"{stage}/pairs": 9.0},
        "declared": {"auroc": AUROC.declaration()},
    }
    predictions = Predictions()
    predictions.writer = TableWriter("features.parquet")
    trainer = SimpleNamespace(callbacks=[record, predictions], is_global_zero=True, default_root_dir=str(folder))
    close(trainer, command, [command, *WORDS], every)
    return capsys.readouterr().out.splitlines()[1:]


def test_value_the_python_that_a_shell_here_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = tmp_path / "my work" / ".venv" / "bin"
    binary.mkdir(parents=True)
    (binary / "python").touch(0o755)
    monkeypatch.setattr("sys.executable", str(binary / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert python() == f"'{binary}/python'", "elsewhere"
    monkeypatch.chdir(tmp_path / "my work")
    assert python() == ".venv/bin/python"
    monkeypatch.setenv("PATH", str(binary))
    assert python() == "python", "activated"


def test_value_the_end_of_every_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mpma_lightning.cli.close.python", lambda: "python")
    monkeypatch.setattr("mpma_lightning.cli.close.program", lambda: PROG)
    fit = said("fit", tmp_path, capsys)
    assert (
        fit[0] == "fit of X, 4 validation samples, after 3 steps" and "auroc" in fit[1] and "baseline 0.500" in fit[1]
    )
    assert fit[2] == "  (2 values; the results hold all)" and fit[3] == f"results:  {tmp_path}/results.json"
    assert fit[4] == f"next:     python -m mpma_lightning test {KEPT}"
    assert said("fit", tmp_path, capsys, test=0)[4] == f"next:     python -m mpma_lightning predict {KEPT}"
    test = said("test", tmp_path, capsys)
    assert test[2] == "  (2 values; --verbose true shows all)"
    assert test[3:] == [
        f"results:  {tmp_path}/results_test.json",
        f"next:     python -m mpma_lightning report {tmp_path}",
    ]
    assert len(said("test", tmp_path, capsys, every=True)) == 5
    predict = said("predict", tmp_path, capsys)
    assert predict[1:] == [
        f"results:  {tmp_path}/features.parquet",
        f"next:     python -c \"import pandas; print(pandas.read_parquet('{tmp_path}/features.parquet'))\"",
    ]
