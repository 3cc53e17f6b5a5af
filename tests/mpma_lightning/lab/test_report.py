"""Reports: what is read, what is left out and said, and every form of output."""

import base64
import csv
import io
import json
import os
from html.parser import HTMLParser
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from full_disk import full_disk
from hypothesis import given
from hypothesis import strategies as st
from report_runs import AUROC as MACRO_AUROC
from report_runs import cell, declare, only_table, planned, row, samples, seeds_of, write_run
from scripts import stands_for

from data_modules.errors import UserError
from mpma_lightning.cli.main import main
from mpma_lightning.evaluation.metric import Metric
from mpma_lightning.lab import program
from mpma_lightning.lab.reports.runs import find_runs
from mpma_lightning.lab.reports.tables import make_tables
from mpma_lightning.lab.reports.writers import markdown

VALUES = {"mpma": (0.90, 0.92, 0.94), "mrm": (0.80, 0.82, 0.81)}
AUROC = {(method, seed): value for method, values in VALUES.items() for seed, value in enumerate(values)}
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two methods x three seeds; samples whose AUROC differ; the last seed of mrm has not been run."""
    trials = [planned(tmp_path, method, seed) for method, seed in AUROC]
    (tmp_path / "s.sweep.json").write_text(json.dumps({"sweep": "s.yaml", "trials": trials}))
    for (method, seed), auroc in list(AUROC.items())[:-1]:
        folder = write_run(tmp_path / "probe" / method / f"seed_{seed}", row(seed, auroc))
        samples(2.0 if method == "mpma" else 0.3, seed).to_parquet(folder / "samples_test.parquet")
        (folder / "pictures").mkdir()
        (folder / "pictures" / "curve.png").write_bytes(PNG)
    return tmp_path


# what is read


def test_value_mean_and_deviation_over_seeds(sweep: Path) -> None:
    table = only_table(sweep)
    assert (table.stage, table.protocol, table.methods) == ("probe", "cls-finetune-mrm", ["mpma", "mrm"])
    assert table.data == "CheXpert layout of the phantom, 500 test samples"
    ours, theirs = cell(table, "mpma", "auroc"), cell(table, "mrm", "auroc")
    assert ours["mean"] == pytest.approx(92) and ours["sd"] == pytest.approx(2)
    assert theirs["mean"] == pytest.approx(81) and theirs["sd"] == pytest.approx(np.std([80, 82], ddof=1))
    assert (ours["low"], ours["high"]) == pytest.approx((90, 94)) and ours["best"] and not theirs["best"]
    assert dict(table.costs["seeds"]) == {"mpma": 3, "mrm": 2} and table.costs.at["mpma", "seconds"] == 90
    assert ours["against_best"] is None and theirs["against_best"].high < 0 and theirs["against_best"].p < 0.05
    missing = [(trial.id, trial.command) for trial in table.missing]
    assert missing == [("probe/mrm/seed_2", "python -m mpma_lightning fit … probe/mrm/seed_2")]


def test_value_damaged_unfinished_and_foreign_runs_are_said_and_left_out(sweep: Path) -> None:
    probe = sweep / "probe"
    (probe / "mrm" / "seed_0" / "results_test.json").write_text('{"protocol": "cls-fine')
    (probe / "mpma" / "seed_1" / "results_test.json").unlink()
    (probe / "mpma" / "seed_1" / "results.json").write_text(json.dumps(row(1)))  # fit is done, test is not
    write_run(probe / "mpma" / "seed_2", row(2, 0.94, protocol="cls-finetune-benchx"))
    write_run(probe / "mrm" / "seed_1", row(1, 0.82, manifest_hash="other"))
    write_run(probe / "mrm" / "seed_2", row(2, 0.81))
    found = find_runs([sweep])
    said = "\n".join(found.remarks)
    assert (
        "mrm/seed_0/results_test.json: damaged, not whole JSON" in said
        and "mpma/seed_1: not finished, no results_test.json" in said
    )
    assert "mpma/seed_2: protocol 'cls-finetune-benchx', while the others of probe have 'cls-finetune-mrm'" in said
    left = {(run.method, run.seed) for run in found.runs}
    assert left == {("mpma", 0), ("mrm", 1), ("mrm", 2)}, "one seed alone has nothing to be other than"
    table = only_table(sweep)
    assert seeds_of(table, "mpma", "auroc") == {0: pytest.approx(90)}
    assert {trial.id for trial in table.missing} == {"probe/mrm/seed_0", "probe/mpma/seed_1"}


def test_value_other_data_are_left_out(sweep: Path) -> None:
    write_run(sweep / "probe" / "mpma" / "seed_1", row(1, 0.99, manifest_hash="other"))
    write_run(sweep / "probe" / "more" / "seed_1", row(1, 0.5))
    plan = json.loads((sweep / "s.sweep.json").read_text())
    (sweep / "s.sweep.json").write_text(json.dumps({"trials": [*plan["trials"], planned(sweep, "more", 1)]}))
    found = find_runs([sweep])
    assert [r for r in found.remarks if "mpma/seed_1: other data or splits" in r]


def test_value_fractions_are_columns_and_other_variants_are_rows(tmp_path: Path) -> None:
    trials = []
    for variant in ("label_fraction=0.01", "label_fraction=1.0", "lr=0.1"):
        name = f"probe/mpma/{variant}/seed_0"
        write_run(tmp_path / name, row(0, 0.9, label_fraction=0.5))
        trials.append(planned(tmp_path, "mpma", 0, id=name, variant=variant))
    (tmp_path / "s.sweep.json").write_text(json.dumps({"trials": trials}))
    table = only_table(tmp_path)
    titles = [column.title for column in table.columns]
    assert titles == ["auroc, label_fraction=0.01", "auroc, label_fraction=1.0", "auroc"]
    assert table.methods == ["mpma", "mpma lr=0.1"]


def test_value_rows_of_other_settings_or_an_older_fit_are_left_out(sweep: Path) -> None:
    plan = json.loads((sweep / "s.sweep.json").read_text())
    for trial in plan["trials"]:
        trial["config_sha256"] = ["fit", "c" if trial["id"] != "probe/mrm/seed_1" else "new"]
    (sweep / "s.sweep.json").write_text(json.dumps(plan))
    again = sweep / "probe" / "mpma" / "seed_0"
    write_run(again, row(0, config_sha256="fit"), "results.json")
    os.utime(again / "results_test.json", (1, 1))
    found = find_runs([sweep])
    assert {(run.method, run.seed) for run in found.runs} == {("mpma", 1), ("mpma", 2), ("mrm", 0)}
    said = "\n".join(found.remarks)
    assert "mrm/seed_1/results_test.json: of other settings than the sweep has now; left out" in said
    assert "mpma/seed_0/results_test.json: older than what it was measured on; left out" in said
    assert len(found.missing) == 3


def test_value_two_sweeps_never_share_a_cell(tmp_path: Path) -> None:
    for name, auroc in (("a", 0.9), ("b", 0.6)):
        trials = [planned(tmp_path / name, "mpma", seed) for seed in (0, 1)]
        for seed in (0, 1):
            write_run(tmp_path / name / "probe" / "mpma" / f"seed_{seed}", row(seed, auroc))
        (tmp_path / name / f"{name}.sweep.json").write_text(json.dumps({"trials": trials}))
    for folders in ([tmp_path], [tmp_path / "a", tmp_path / "b"]):
        tables = make_tables(find_runs(folders))
        means = {table.stage: cell(table, "mpma", "auroc")["mean"] for table in tables}
        assert means == {f"{tmp_path}/a/probe": pytest.approx(90), f"{tmp_path}/b/probe": pytest.approx(60)}


def test_value_plain_runs_of_two_folders_are_two_rows(tmp_path: Path) -> None:
    write_run(tmp_path / "x" / "m", row(0, 0.8))
    write_run(tmp_path / "y" / "m", row(0, 0.5))
    (table,) = make_tables(find_runs([tmp_path / "x", tmp_path / "y"]))
    assert set(table.methods) == {f"{tmp_path}/x/m", f"{tmp_path}/y/m"}


def test_value_validation_and_test_never_share_a_column(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / name, row(0, 0.8))
    write_run(tmp_path / "c", row(0, metrics={"val/auroc": 0.9}), "results.json")
    tables = {table.stage: table for table in make_tables(find_runs([tmp_path]))}
    assert {name: table.methods for name, table in tables.items()} == {
        "Classification, test": ["a", "b"],
        "Classification, validation": ["c"],
    }
    table = tables["Classification, validation"]
    assert table.data == "CheXpert layout of the phantom" and cell(table, "c", "auroc")["mean"] == pytest.approx(90)


def test_value_deviation_of_a_single_probe_is_that_of_its_heads(tmp_path: Path) -> None:
    metrics = {"test/fraction_0.1/auroc": 0.8, "test/fraction_0.1/auroc_sd": 0.03}
    write_run(
        tmp_path / "m",
        row(0, task="LinearProbeTask", metrics=metrics, declared=declare(MACRO_AUROC.under("fraction_0.1"))),
    )
    table = only_table(tmp_path)
    assert cell(table, "m", "fraction_0.1/auroc")["sd"] == pytest.approx(3)
    assert "80.0 ± 3.0" in markdown([table], []) and "One seed only" not in markdown([table], [])


def test_error_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="found no result record"):
        find_runs([tmp_path])
    with pytest.raises(UserError, match="is not a folder"):
        find_runs([tmp_path / "absent"])


# what is written


class Balanced(HTMLParser):
    """Counts tags that are not closed, and what is fetched from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [v or "" for k, v in attrs if k in ("src", "href") and not (v or "").startswith("data:")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_value_every_form_of_a_report(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sweep / "probe" / "mrm" / "seed_0" / "results_test.json").write_text("{}")
    assert main(["report", str(sweep)]) == 0
    text = capsys.readouterr().out
    assert "| mpma | **92.0 ± 2.0** [90.0, 94.0] | 3 | 1.5 | 10 | 300 |" in text
    assert "2 runs are missing" in text and "fit … probe/mrm/seed_2" in text and "damaged" in text
    assert "With 3 seeds a two-sided t test" in text and "One seed only: mrm." in text
    assert (sweep / "report.md").read_text() == text
    rows = list(csv.DictReader(io.StringIO((sweep / "report.csv").read_text())))
    assert {(r["method"], r["seed"], r["value"]) for r in rows if r["method"] == "mpma"} == {
        ("mpma", "0", "90"),
        ("mpma", "1", "92"),
        ("mpma", "2", "94"),
    }
    latex = (sweep / "report.tex").read_text()
    assert latex.count(r"\begin{table}") == latex.count(r"\end{table}") == latex.count(r"\label{tab:probe}") == 1
    assert r"\textbf{92.0 $\pm$ 2.0} {\scriptsize [90.0, 94.0]}" in latex
    page = Balanced()
    page.feed((sweep / "report.html").read_text())
    assert page.open == [] and page.fetched == ["#stage-1", "#remarks"], "one file, nothing from elsewhere"
    text = (sweep / "report.html").read_text()
    assert '<th>mpma</th><td><b>92.0 ± 2.0</b> <small>[90.0, 94.0]</small></td><td class="cost">3</td>' in text
    assert text.count("data:image/png;base64,") == 2, "of the first run of each method"
    assert text.count("more pictures in") == 2


def test_value_curves_are_drawn(sweep: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(sweep / "probe" / "mpma" / "seed_0")) as writer:
        for step in range(500):
            writer.add_scalar("train/loss", 1 / (step + 1), step)
    assert main(["report", str(sweep), "--out", str(sweep / "page.html")]) == 0
    text = (sweep / "page.html").read_text()
    assert text.count("data:image/svg+xml;base64,") == 1
    assert not (sweep / "report.md").exists()


# what no file may do


def test_value_smaller_error_is_the_best_and_what_is_not_declared_is_not_judged(tmp_path: Path) -> None:
    error = Metric("mae", higher_is_better=False, unit="error", headline=True)
    for name, value in (("a", 3.0), ("b", 9.0)):
        write_run(tmp_path / name, row(0, metrics={"test/mae": value, "test/memory_map": 0.5}, declared=declare(error)))
    table = only_table(tmp_path)
    assert [column.title for column in table.columns] == ["mae"]
    assert cell(table, "a", "mae")["best"] and not cell(table, "b", "mae")["best"]
    assert "| a | **3.000** |" in markdown([table], [])
    for name, value in (("a", 3.0), ("b", 9.0)):
        old = row(0, metrics={"test/mae": value, "test/memory_map": 0.5, "test/memory_map_low": 0.4})
        write_run(tmp_path / name, {key: entry for key, entry in old.items() if key != "declared"})
    found = find_runs([tmp_path])
    (table,) = make_tables(found)
    assert [column.title for column in table.columns] == ["mae", "memory_map"]
    assert not table.cells["best"].any()
    assert "| a | 3.000 | 0.500 [" not in markdown([table], []) and cell(table, "a", "memory_map")["mean"] == 0.5
    assert sum("declares no metrics" in remark for remark in found.remarks) == 2


def test_value_names_are_neither_markup_nor_formulas_nor_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("<script>alert(1)<!script>", "=1+1", "\\input{x}_%", "a|b", "[x](javascript:y)")
    for name in names:
        write_run(tmp_path / name.replace("/", ""), row(0))
    assert main(["report", str(tmp_path)]) == 0
    page, text = (tmp_path / "report.html").read_text(), capsys.readouterr().out
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "<script" not in text and "| a\\|b |" in text and "](javascript" not in text
    table = csv.DictReader(io.StringIO((tmp_path / "report.csv").read_text()))
    assert "'=1+1" in {line["method"] for line in table}
    latex = (tmp_path / "report.tex").read_text()
    assert r"\textbackslash{}input\{x\}\_\%" in latex and r"\input{" not in latex and "\n{}[x]" in latex


def test_value_pictures_of_patients_are_said_and_links_are_not_followed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(tmp_path / "runs" / "a", row(0, phantom=False))
    (folder / "pictures").mkdir()
    (folder / "pictures" / "own.png").write_bytes(PNG)
    (tmp_path / "elsewhere.png").write_bytes(PNG + b"secret")
    (folder / "pictures" / "link.png").symlink_to(tmp_path / "elsewhere.png")
    write_run(tmp_path / "elsewhere", row(0, 0.1))
    linked = tmp_path / "runs" / "b"
    linked.mkdir()
    (linked / "results_test.json").symlink_to(tmp_path / "elsewhere" / "results_test.json")
    assert main(["report", str(tmp_path / "runs")]) == 0
    said, text = capsys.readouterr(), (tmp_path / "runs" / "report.html").read_text()
    assert text.count("data:image/png;base64,") == 1 and "link.png is a link out of the run folder" in text
    assert "pictures of patients" in text and "pictures of patients" in said.err
    assert "b/results_test.json: a link out of its run folder" in said.out
    assert main(["report", str(tmp_path / "runs"), "--no-pictures"]) == 0
    text = (tmp_path / "runs" / "report.html").read_text()
    assert "data:image" not in text and "pictures of patients" not in text + capsys.readouterr().err


def test_value_infinite_values_are_left_out_of_charts_and_cells(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    folder = write_run(tmp_path / "a", row(0, float("nan")))
    with SummaryWriter(str(folder)) as writer:
        for step, value in enumerate((1.0, float("inf"), float("nan"), -float("inf"), 3e38, 0.5)):
            writer.add_scalar("val/loss", value, step)
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "page.html")]) == 0
    text = (tmp_path / "page.html").read_text()
    assert "data:image/svg+xml;base64," in text and "nan" not in text


ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)
"""Anything a JSON file may hold."""


@given(data=st.data())
def test_error_odd_records_are_remarks(data: st.DataObject, tmp_path: Path) -> None:
    top = tmp_path / uuid4().hex
    good = row(0)
    changed = {key: data.draw(ODD) for key in data.draw(st.lists(st.sampled_from(sorted(good)), max_size=3))}
    inner = {data.draw(st.text(max_size=6)): data.draw(ODD)}
    odd = data.draw(st.sampled_from(
        [good | changed, good | {"metrics": good["metrics"] | inner}, good | {"declared": good["declared"] | inner},
         good | {"metrics": {f"test/{name}": 1 for name in inner}}, {**good, "split_sizes": inner}, data.draw(ODD)]
    ))  # fmt: skip
    folder = write_run(top / "odd", odd)
    write_run(top / "good", row(1))
    if data.draw(st.booleans()):
        (folder / "samples_test.parquet").write_bytes(data.draw(st.binary(max_size=40)))
        (folder / "events.out.tfevents.1").write_bytes(data.draw(st.binary(max_size=40)))
        (top / "s.sweep.json").write_text(json.dumps({"trials": [planned(top, "m", 0) | inner]}))
    assert main(["report", str(top)]) in (0, 1)
    assert any("good" in (top / f"report.{kind}").read_text() for kind in ("md", "html"))


def test_error_out(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(sweep), "--out", "report.pdf"]) == 2
    assert "expected a name that ends in .md, .csv, .tex, .html" in capsys.readouterr().err


# running a cell again

AGAIN = """
import json, pathlib, sys
folder = pathlib.Path(sys.argv[sys.argv.index("--trainer.default_root_dir") + 1])
folder.mkdir(exist_ok=True)
row = json.loads(pathlib.Path(ROW).read_text())
row["metrics"]["test/auroc"] += GAP
(folder / ("results.json" if sys.argv[1] == "fit" else "results_test.json")).write_text(json.dumps(row))
"""


@pytest.mark.parametrize(("gap", "status"), [(0.0, 0), (0.1, 1)])
def test_value_verify(
    sweep: Path, gap: float, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = sweep / "probe" / "mpma" / "seed_1"
    code = AGAIN.replace("ROW", repr(str(cell / "results_test.json"))).replace("GAP", str(gap))
    (sweep / "again.py").write_text(code)
    monkeypatch.setattr(program, "SERVER", stands_for(sweep / "again.py"))
    assert main(["report", str(sweep), "--verify", "probe/mpma/seed_1"]) == status
    said = capsys.readouterr()
    if status == 0:
        assert "4 of 4 metrics the same within 0.001; largest difference 0" in said.out
    else:
        assert "3 of 4 metrics the same" in said.err and "test/auroc: 0.92 -> 1.02" in said.err
    assert json.loads((cell / "results_test.json").read_text())["metrics"]["test/auroc"] == 0.92, "left as it was"


def test_error_verify_of_an_unknown_cell(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(sweep), "--verify", "probe/mpma/seed_9"]) == 1
    assert "found 0 such runs" in capsys.readouterr().err


def test_error_full_disk_at_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "runs" / "first", row())
    with full_disk(60):
        assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "page.html")]) == 1
    assert "page.html could not be written (File too large)" in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.glob("*.html")) and not list(tmp_path.rglob("*.partial"))
    assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "page.html")]) == 0
