"""Published values: only beside the same protocol, data and split."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml
from report_runs import cell, declare, only_table, row, seeds_of, write_run

from data_modules.base import DataModule
from data_modules.chexpert import CheXpertDataModule
from data_modules.nih_chestxray14 import CLASSES
from mpma_lightning.evaluation.grounding import ABSOLUTE_CNR
from mpma_lightning.lab.records import Record
from mpma_lightning.lab.reports import published
from mpma_lightning.lab.reports.published import quoted_for

EXPERIMENTS = Path(__file__).parents[3] / "experiments"
FIVE = ["Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion"]
CHEXPERT = {
    "views": ["Frontal", "Lateral"],
    "labels": FIVE,
    "uncertain": "gloria",
    "blank": "zeros",
    "pinned": None,
    "split_file": None,
}


def record(**more: Any) -> Record:
    """Of a run on real data."""
    return Record(task="T", metrics={}, phantom=False, **more)


def write_data(folder: Path, arguments: dict[str, Any]) -> None:
    (folder / "test.yaml").write_text(yaml.safe_dump({"data": {"init_args": arguments}}))


def test_value_quoted_only_beside_the_same_protocol_data_and_split(tmp_path: Path) -> None:
    real = {"phantom": False, "label_fraction": 0.01}
    folder = write_run(tmp_path / "a", row(0, 0.8, **real))
    assert not only_table(tmp_path).quoted, "what the data were is not known"
    write_data(folder, CHEXPERT)
    table = only_table(tmp_path)
    assert seeds_of(table, "MRM (quoted)", "auroc") == {0: 88.5}
    assert not cell(table, "a", "auroc")["best"], "a lone row is not the best of anything"
    for other in ({"phantom": True}, {"protocol": "cls-finetune-benchx"}, {"label_fraction": 0.5}):
        write_run(tmp_path / "a", row(0, 0.8, **{**real, **other}))
        assert not only_table(tmp_path).quoted
    write_run(tmp_path / "a", row(0, 0.8, **real))
    for change in (
        {"views": ["Frontal"]},
        {"labels": FIVE[:3]},
        {"uncertain": "ones"},
        {"blank": "ignore"},
        {"pinned": "chexpert_5x200.csv"},
        {"split_file": "split.csv"},
    ):
        write_data(folder, CHEXPERT | change)
        assert not only_table(tmp_path).quoted, change


@pytest.mark.parametrize(("name", "protocol"), [("vqa_rad", "vqa-rad-legacy"), ("slake_en", "slake-en")])
def test_value_quoted_only_beside_the_official_questions(name: str, protocol: str) -> None:
    config = yaml.safe_load((EXPERIMENTS / "vqa" / f"{name}.yaml").read_text())
    dataset = config["data"]["class_path"]
    content = record(protocol=protocol, dataset=dataset)
    data = {"language": "en", "split_file": None}
    assert len(quoted_for(content, lambda: data)) == 3
    assert not quoted_for(content, lambda: data | {"split_file": "mine.csv"})


@pytest.mark.parametrize("fraction", [0.01, 0.1, 1.0])
def test_value_shipped_experiments_are_those_of_the_publication(fraction: float) -> None:
    config = yaml.safe_load((EXPERIMENTS / "classification" / "chexpert_mrm.yaml").read_text())
    arguments = [inspect.signature(kind.__init__).parameters for kind in (DataModule, CheXpertDataModule)]  # type: ignore[misc]
    usual = {key: value.default for known in arguments for key, value in known.items()}
    own = config["data"]["init_args"] | {"label_fraction": fraction}
    data = {key: list(v) if isinstance(v, tuple) else v for key, v in (usual | own).items()}
    content = record(
        protocol=config["model"]["init_args"]["protocol"],
        dataset=config["data"]["class_path"],
        label_fraction=data["label_fraction"],
    )
    assert len(quoted_for(content, lambda: data)) == 2


def test_value_a_metric_without_per_cent_is_quoted_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {
        "protocol": "ground-cnr",
        "dataset": "MSCXRDataModule",
        "method": "BioViL",
        "values": {"absolute_cnr": 1.027},
    }
    (tmp_path / "published.yaml").write_text(yaml.safe_dump([entry]))
    monkeypatch.setattr(published, "FILE", tmp_path / "published.yaml")
    content = row(phantom=False, protocol="ground-cnr", dataset="MSCXRDataModule", label_fraction=None)
    content |= {"metrics": {"test/absolute_cnr": 0.9}, "declared": declare(ABSOLUTE_CNR)}
    write_data(write_run(tmp_path / "a", content), {"root": "x"})
    assert seeds_of(only_table(tmp_path), "BioViL (quoted)", "absolute_cnr") == {0: 1.027}


def test_value_quoted_needs_the_split_it_was_measured_on(tmp_path: Path) -> None:
    for split, lists, count in (("70/10/20", "lists", 2), ("70/10/20", None, 0), ("official", None, 0)):
        content = row(0, 0.8, phantom=False, label_fraction=0.1, dataset="NIHChestXray14DataModule")
        folder = write_run(tmp_path / "a", content)
        write_data(folder, {"split": split, "lists": lists, "labels": list(CLASSES), "split_file": None})
        assert len(only_table(tmp_path).quoted) == count
