"""The shipped experiments, and their command lines on the phantom."""

import gc
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from data_modules.catalogue import DATA_MODULES
from data_modules.phantom.layouts import LAYOUTS
from data_modules.yaml_files import read_yaml
from mpma_lightning.cli.main import main

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
SMALL = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--data.num_workers", "0"]
TINY = ["--model.backbone.image.options", "{depth: 1}", "--model.backbone.text.depth", "1"]


def subcommand(path: Path) -> str | None:
    """The first comment of an experiment names its subcommand: ``# fit — …``; parts name none."""
    word = path.read_text().split()[1]
    return word if word in ("fit", "validate", "test", "predict") else None


SHIPPED = sorted(p for p in EXPERIMENTS.rglob("*.yaml") if subcommand(p))

FIVE = ["Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion"]
PLANTED = "[Atelectasis, Cardiomegaly, Edema]"
"""So small a phantom has a positive of few classes in every split."""
READ_LABELS = ("ClassificationTask", "LinearProbeTask", "ZeroShotTask")
SELECTABLE = ("CheXpertDataModule", "MIMICCXRDataModule", "NIHChestXray14DataModule")
"""Of their labels those are chosen that the phantom has planted."""
OVERRIDES: dict[str, dict[str, str]] = {
    "mimic_cxr": {"image_root": "{phantom}/mimic-cxr-jpg", "report_root": "{phantom}/mimic-cxr"},
    "ms_cxr": {"root": "{layout}", "image_root": "{phantom}/mimic-cxr-jpg"},
    "ms_cxr_t": {
        "root": "{layout}",
        "image_root": "{phantom}/mimic-cxr-jpg",
        "split": "mimic_cxr",
        "labels": "[Edema, Pleural Effusion]",
    },
    "cxr_lt": {
        "root": "{layout}",
        "image_root": "{phantom}/mimic-cxr-jpg",
        "labels": "[Cardiomegaly, Edema, Pleural Effusion]",
    },
    "chexpert": {"root": "{layout}", "val_share": "0.2"},
    "vindr_cxr": {"root": "{layout}", "labels": "[Cardiomegaly, Pleural effusion]"},
    "chestx_det": {"root": "{layout}", "labels": "[Cardiomegaly, Effusion]"},
}
"""Arguments of a data set, by its name in the catalogue, where ``root: {layout}`` is not enough."""


def merged(path: Path) -> dict[str, Any]:
    """The settings of an experiment with its part files read in."""
    return {
        key: merged(path.parent / value) if isinstance(value, str) and value.endswith(".yaml") else value
        for key, value in read_yaml(path).items()
    }


def phantom_arguments(kind: str, phantom: Path) -> dict[str, str]:
    """The arguments with which a data module reads the phantom; fails for a class that the catalogue lacks."""
    name = next((name for name, known in DATA_MODULES.items() if known == kind), None)
    if name is None or name not in (*LAYOUTS, *OVERRIDES):
        pytest.fail(
            f"the tests know no phantom for {kind}: add the class to DATA_MODULES in data_modules/catalogue.py and a "
            "layout to LAYOUTS in data_modules/phantom/layouts.py, or its arguments to OVERRIDES in "
            "tests/experiments/shipped.py"
        )
    layout = phantom / "layouts" / name
    arguments = OVERRIDES.get(name, {"root": "{layout}"})
    return {key: value.format(phantom=phantom, layout=layout) for key, value in arguments.items()}


def data_arguments(path: Path, phantom: Path, pairs: Path) -> list[str]:
    """``--data.…`` of an experiment on the phantom."""
    settings = merged(path)
    kind, given = settings["data"]["class_path"], settings["data"]["init_args"]
    if kind == "CorporaDataModule":
        corpora = {
            name: corpus | {"init_args": phantom_arguments(corpus["class_path"], phantom)}
            for name, corpus in given["corpora"].items()
        }
        return ["--data.corpora", json.dumps(corpora)]
    arguments = phantom_arguments(kind, phantom) | ({"root": str(pairs)} if kind == "PairsDataModule" else {})
    arguments = {key: value for key, value in arguments.items() if given.get(key, value) is not None}
    if "lists" in given:
        arguments["lists"] = f"{arguments['root']}/lists"
    if "pinned" in given:
        own = phantom / "layouts" / "chexpert" / "chexpert_5x200.csv"
        arguments["pinned"] = str(own if kind == "CheXpertDataModule" else pinned_list(phantom))
    elif kind in SELECTABLE and settings["model"]["class_path"] in READ_LABELS:
        arguments["labels"] = PLANTED
    return [word for key, value in arguments.items() for word in (f"--data.{key}", value)]


def pinned_list(phantom: Path) -> Path:
    """Up to three images of each of five classes alone, as 5x200 has 200; a list by path."""
    jpg, out = phantom / "mimic-cxr-jpg", phantom / "mimic_5x200.csv"
    labels = pd.read_csv(jpg / "mimic-cxr-2.0.0-chexpert.csv.gz")
    films = pd.read_csv(jpg / "mimic-cxr-2.0.0-metadata.csv.gz").query("ViewPosition in ['PA', 'AP']")
    positive = labels[FIVE] == 1
    labels = labels[positive.sum(axis=1) == 1].assign(kind=positive.idxmax(axis=1))
    chosen = (
        films.drop_duplicates("study_id").merge(labels[["study_id", "kind"]], on="study_id").groupby("kind").head(3)
    )
    out.write_text("Path\n" + "".join(f"files/somewhere/{name}.jpg\n" for name in chosen["dicom_id"]))
    return out


def start(path: Path, phantom: Path, pairs: Path, out: Path, *more: str) -> None:
    arguments = [
        *data_arguments(path, phantom, pairs),
        "--data.batch_size",
        "2" if "label_fraction" in path.read_text() else "8",
        "--trainer.default_root_dir",
        str(out),
    ]
    if (
        "checkpoint: runs/demo/pretraining" in path.read_text() and "--model.checkpoint" not in more
    ):  # not there in tests: random weights
        arguments += ["--model.checkpoint", "null", "--model.backbone", "mpma_vit_t16"]
    if "SegmentationTask" in path.read_text() or "DetectionTask" in path.read_text():
        arguments += ["--model.head_width", "16"]
    if subcommand(path) != "fit" and not {"--model.checkpoint", "--ckpt_path"} & set(more):
        arguments += ["--ckpt_path", "random"]
    arguments += ["--trainer.precision", "32-true", *more]
    assert main([subcommand(path) or "", "--config", str(path), *arguments, *SMALL]) == 0
    gc.collect()  # a trainer and its model refer to each other: gigabytes of full-size experiments would pile up


def shipped(paths: list[Path], slow: tuple[str, ...]) -> list[object]:
    return [
        pytest.param(p, id=str(p.relative_to(EXPERIMENTS)), marks=[pytest.mark.full] * (p.stem in slow)) for p in paths
    ]


def label_arguments(name: str, phantom: Path, run: Path, out: Path, *more: str) -> list[str]:
    """Of a demo experiment of labels, from the trained run."""
    path = EXPERIMENTS / "demo" / f"{name}.yaml"
    words = ["--config", str(path), *data_arguments(path, phantom, phantom), *SMALL, "--model.checkpoint", str(run)]
    return [*words, "--data.batch_size", "8", "--trainer.default_root_dir", str(out), *more]


def results(run: Path, name: str = "results_test.json") -> dict[str, Any]:
    return json.loads((run / name).read_text())
