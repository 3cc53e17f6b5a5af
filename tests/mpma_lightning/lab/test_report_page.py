"""What a reader of a report sees: names, chosen columns, contents, curves, a table for a paper."""

import base64
import csv
import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_runs import AUROC, cell, declare, only_table, planned, row, write_run

from mpma_lightning.cli.main import main
from mpma_lightning.evaluation.metric import Metric, loss, reference
from mpma_lightning.lab.events import POINTS, read_curves
from mpma_lightning.lab.reports.names import in_words
from mpma_lightning.lab.reports.runs import find_runs


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("zero_shot_auroc", "zero-shot AUROC"),
        ("fraction_0.01/auroc", "1 % of the labels · AUROC"),
        ("rerank/i2t_r10", "rerank · image→text R@10"),
        ("chance_r5", "chance R@5"),
        ("map_40_75_mgca", "mAP@.40-.75 of MGCA"),
        ("probe100_auroc", "probe of 100 studies, AUROC"),
        ("age_error", "age error"),
    ],
)
def test_value_names_in_words(name: str, words: str) -> None:
    assert in_words(name) == words


@given(st.text(max_size=30))
def test_value_any_name_has_words(name: str) -> None:
    assert isinstance(in_words(name), str)


def several(top: Path) -> Path:
    """One run with metrics of every kind."""
    metrics = {"test/auroc": 0.9, "test/auroc/Edema": 0.8, "test/mask_loss": 1.5, "test/chance": 0.1, "test/age": 3.0}
    kinds = (AUROC, AUROC.of("Edema"), loss("mask_loss", headline=True), reference("chance", headline=True))
    age = Metric("age", higher_is_better=False, unit="error")
    return write_run(top, row(metrics=metrics, declared=declare(*kinds, age)))


def columns(text: str) -> list[str]:
    """The headings of a Markdown table, without the cost."""
    line = next(line for line in text.splitlines() if line.startswith("| "))
    return [name.strip() for name in line.split("|")[2:-5]]


def test_value_headings_have_direction_and_unit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    several(tmp_path / "run")
    assert main(["report", str(tmp_path)]) == 0
    assert columns(capsys.readouterr().out) == ["AUROC ↑ %", "mask loss ↓", "chance %"]


def test_value_a_baseline_is_never_the_best(tmp_path: Path) -> None:
    for name, value in (("a", 0.2), ("b", 0.1)):
        chance = reference("chance", headline=True)
        write_run(tmp_path / name, row(metrics={"test/chance": value}, declared=declare(chance)))
    table = only_table(tmp_path)
    assert not table.cells["best"].any() and cell(table, "a", "chance")["mean"] == pytest.approx(20)


def test_value_chosen_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    several(tmp_path / "run")
    assert main(["report", str(tmp_path), "--columns", "age", "auroc*", "mask_loss"]) == 0
    assert columns(capsys.readouterr().out) == ["age ↓", "AUROC ↑ %", "AUROC · Edema ↑ %", "mask loss ↓"]
    assert main(["report", str(tmp_path), "--columns", "auroq"]) == 1
    assert "--columns auroq: no run has such a metric; did you mean 'auroc'?" in capsys.readouterr().err


def test_value_a_lone_run_is_called_by_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "first", row())
    assert only_table(tmp_path / "first").methods == ["first"]
    monkeypatch.chdir(tmp_path / "first")
    assert only_table(Path()).methods == ["first"]


def test_value_a_summary_is_not_a_damaged_record(tmp_path: Path) -> None:
    """``runs/demo/results.json`` sums up what the runs below it have measured."""
    write_run(tmp_path, {"zero_shot_auroc": 0.87, "seed": 0, "seconds": 600.0}, "results.json")
    write_run(tmp_path / "pretraining", row())
    found = find_runs([tmp_path])
    assert [run.method for run in found.runs] == ["pretraining"]
    assert len(found.remarks) == 1 and "not the record of a run" in found.remarks[0]
    assert "damaged" not in found.remarks[0]


def test_value_curves_of_a_csv_log(tmp_path: Path) -> None:
    log = tmp_path / "csv" / "version_0" / "metrics.csv"
    log.parent.mkdir(parents=True)
    rows = [{"step": step, "epoch": 0, "train/loss": 1 / (step + 1), "val/auroc": ""} for step in range(3 * POINTS)]
    rows.append({"step": 3 * POINTS, "epoch": 0, "train/loss": "", "val/auroc": 0.5})
    with log.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
        file.write("601,0,0.")  # cut short by a kill
    curves = read_curves(tmp_path)
    assert curves["val/auroc"] == [(3 * POINTS, 0.5)]
    assert len(curves["train/loss"]) <= POINTS + 1 and curves["train/loss"][0] == (0, 1.0)
    assert dict(curves["train/loss"])[300] == pytest.approx(1 / 301)


@given(st.binary(max_size=60))
def test_error_damaged_csv_logs_are_no_curves(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "metrics.csv").write_bytes(content)
        assert all(isinstance(value, float) for curve in read_curves(Path(name)).values() for _, value in curve)


def test_value_every_seed_has_its_colour_in_every_chart(tmp_path: Path) -> None:
    trials = [planned(tmp_path, method, seed) for method in ("mpma", "mrm") for seed in (0, 1, 2)]
    (tmp_path / "s.sweep.json").write_text(json.dumps({"trials": trials}))
    for trial in trials:
        folder = write_run(tmp_path / trial["id"], row(trial["seed"]))
        lines = ["step,train/loss,val/auroc", *(f"{step},{1 / (step + 1)},{step / 10}" for step in range(5))]
        (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "page.html")]) == 0
    text = (tmp_path / "page.html").read_text()
    assert time.strftime("%Y-%m-%d") in text and '<a href="#stage-1">probe</a>' in text
    colours = re.findall(r'<i style="background:(#\w+)"></i>(seed \d)', text)
    assert [name for _, name in colours] == ["seed 0", "seed 1", "seed 2"] * 2
    assert len({colour for colour, _ in colours}) == 6
    charts = [base64.b64decode(found).decode() for found in re.findall(r"data:image/svg\+xml;base64,([\w+/=]+)", text)]
    assert len(charts) == 2 and all(colour in chart for chart in charts for colour, _ in colours)
    assert [re.search(r'alt="(.*?) of probe', line)[1] for line in text.split("<img ")[1:]] == [  # type: ignore[index]
        "loss, training",
        "AUROC ↑ %, validation",
    ]


def test_value_a_table_for_a_paper(tmp_path: Path) -> None:
    names = ("my_method & 50%", "[b]", "c#d")
    for i, name in enumerate(names):
        write_run(tmp_path / name, row(0, 0.8 + i / 100))
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "table.tex")]) == 0
    text = (tmp_path / "table.tex").read_text()
    assert r"\label{tab:classification}" in text
    assert r"my\_method \& 50\% & 80.0 {\scriptsize [78.0, 82.0]} \\" in text
    assert r"{}[b] & " in text and r"c\#d" in text
    assert r"AUROC $\uparrow$ \%" in text and "min a run" not in text
    _, below = text.split(r"\end{tabular}")
    assert r"One seed only: every row." in below and below.index("One seed only") < below.index(r"\end{table}")
    assert text.count("{") == text.count("}")
