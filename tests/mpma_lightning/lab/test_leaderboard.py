"""Leaderboards: what an entry says, and which ones are never one board."""

import json
from pathlib import Path
from typing import Any

import pytest
from report_runs import row, write_run

from mpma_lightning.cli.main import main


def board(folder: Path, *more: str) -> list[dict[str, Any]]:
    """Of the runs in ``folder``."""
    out = folder / "board.json"
    assert main(["report", str(folder), "--out", str(out), *more]) == 0
    entries: list[dict[str, Any]] = json.loads(out.read_text())["entries"]
    return entries


def lab(folder: Path, method: str, auroc: float, **more: Any) -> Path:
    """Runs of one method."""
    write_run(folder / method, row(0, auroc, **more))
    return folder


def test_value_an_entry_says_all_that_a_comparison_needs(tmp_path: Path) -> None:
    (entry,) = board(lab(tmp_path, "mpma", 0.9))
    assert entry == {
        "protocol": "cls-finetune-mrm",
        "dataset": "CheXpertDataModule",
        "phantom": True,
        "part": "test",
        "label_fraction": "1.0",
        "metric": "auroc",
        "unit": "share",
        "higher_is_better": True,
        "stage": "Classification",
        "method": "mpma",
        "split": {"0": "m"},
        "values": {"0": 0.9},
        "mean": 0.9,
        "sd": None,
        "low": pytest.approx(0.88),
        "high": pytest.approx(0.92),
        "contamination": None,
        "config_sha256": ["c"],
    }


def test_value_boards_of_the_same_split_are_one_the_best_first(tmp_path: Path) -> None:
    board(lab(tmp_path / "a", "mpma", 0.8))
    board(lab(tmp_path / "b", "mrm", 0.9))
    merged = board(lab(tmp_path / "c", "maco", 0.85), "--merge", *(str(tmp_path / n / "board.json") for n in "ab"))
    assert [(entry["method"], entry["mean"]) for entry in merged] == [("mrm", 0.9), ("maco", 0.85), ("mpma", 0.8)]


@pytest.mark.parametrize(
    ("method", "change", "says"),
    [
        ("mrm", {"manifest_hash": "other"}, "other samples or splits of seed 0 (other and m)"),
        ("mrm", {"declared": {"auroc": {"unit": "ratio", "headline": True}}}, "unit is 'ratio' and 'share'"),
        ("mpma", {}, "both have a method mpma"),
    ],
)
def test_error_boards_that_do_not_compare(
    tmp_path: Path, method: str, change: dict, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    board(lab(tmp_path / "a", method, 0.8, **change))
    lab(tmp_path / "b", "mpma", 0.9)
    words = ["report", str(tmp_path / "b"), "--out", str(tmp_path / "all.json"), "--merge"]
    assert main([*words, str(tmp_path / "a" / "board.json")]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert says in said and "auroc of CheXpertDataModule under cls-finetune-mrm" in said
    assert not (tmp_path / "all.json").exists()


def test_value_another_question_is_another_place(tmp_path: Path) -> None:
    board(lab(tmp_path / "a", "mpma", 0.8, manifest_hash="other", protocol="cls-finetune-benchx"))
    merged = board(lab(tmp_path / "b", "mpma", 0.9), "--merge", str(tmp_path / "a" / "board.json"))
    assert {entry["protocol"] for entry in merged} == {"cls-finetune-mrm", "cls-finetune-benchx"}


def test_value_audit_of_the_pretraining_data(tmp_path: Path) -> None:
    shared = {"severity": "error", "kind": "patient also in pre-training", "message": "", "items": ["p1", "p2"]}
    other = {"severity": "info", "kind": "left out", "message": "", "items": []}
    audit = {"dataset": "chexpert", "root": "r", "against": "data/store", "findings": [shared, other]}
    (tmp_path / "check.json").write_text(json.dumps(audit))
    (entry,) = board(lab(tmp_path / "a", "mpma", 0.9), "--audit", str(tmp_path / "check.json"))
    assert entry["contamination"] == {"patient also in pre-training": 2}


@pytest.mark.parametrize("option", ["--merge", "--audit"])
def test_error_file_that_is_neither(tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.json").write_text('{"dataset": "chexpert", "findings": []}')
    words = ["report", str(lab(tmp_path / "a", "mpma", 0.9)), "--out", str(tmp_path / "b.json")]
    assert main([*words, option, str(tmp_path / "x.json")]) == 1
    assert "x.json: " in capsys.readouterr().err
    assert main(["report", str(tmp_path / "a"), option, str(tmp_path / "x.json")]) == 2
    assert "are of a leaderboard" in capsys.readouterr().err
