"""The shipped experiments, and their command lines on the phantom."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

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
LABELLED = {
    "chexpert": "CheXpertDataModule",
    "nih_chestxray14": "NIHChestXray14DataModule",
    "covidx": "COVIDxDataModule",
}
PLANTED = "[Atelectasis, Cardiomegaly, Edema]"
LABELLED_ARGUMENTS = {
    "chexpert": ["--data.labels", PLANTED, "--data.val_share", "0.2"],
    "nih_chestxray14": ["--data.labels", PLANTED],
    "covidx": [],
}
"""So small a phantom has a positive of few classes in every split."""


def module(path: Path) -> str:
    """The text that names the data module: of the experiment, or of the part file it points to."""
    text = path.read_text()
    parts = [path.parent / line.split(": ")[1] for line in text.splitlines() if line.startswith("data: ../")]
    return "".join([text, *(part.read_text() for part in parts)])


def corpora_arguments(phantom: Path) -> list[str]:
    modules = {
        "mimic": {
            "class_path": "MIMICCXRDataModule",
            "init_args": {"image_root": f"{phantom}/mimic-cxr-jpg", "report_root": f"{phantom}/mimic-cxr"},
        },
        "roco": {"class_path": "ROCODataModule", "init_args": {"root": f"{phantom}/layouts/roco"}},
        "own": {"class_path": "PairsDataModule", "init_args": {"root": f"{phantom}/layouts/pairs"}},
    }
    return ["--data.corpora", json.dumps(modules)]


def data_arguments(path: Path, phantom: Path, pairs: Path) -> list[str]:
    if "CorporaDataModule" in path.read_text():
        return corpora_arguments(phantom)
    if "root: data/pairs" in path.read_text():
        return ["--data.root", str(pairs)]
    if layout := next((name for name, title in LABELLED.items() if title in module(path)), None):
        root = f"{phantom}/layouts/{layout}"
        if "pinned:" in path.read_text():
            return ["--data.root", root, "--data.pinned", f"{root}/chexpert_5x200.csv"]
        return ["--data.root", root, *LABELLED_ARGUMENTS[layout]]
    if "MSCXRDataModule" in path.read_text():
        return ["--data.root", f"{phantom}/layouts/ms_cxr", "--data.image_root", f"{phantom}/mimic-cxr-jpg"]
    for name in ("siim_pneumothorax", "rsna_pneumonia", "annotated"):
        root = f"{phantom}/layouts/{name}"
        if f"root: data/{name}" in path.read_text() or f"layouts/{name}" in path.read_text():
            return ["--data.root", root, *["--data.lists", f"{root}/lists"] * ("lists:" in path.read_text())]
    if "report_root: null" in path.read_text():
        return ["--data.image_root", f"{phantom}/mimic-cxr-jpg", "--data.labels", PLANTED]
    for name in ("vqa_rad", "slake", "roco"):
        if f"root: data/{name}" in path.read_text() or f"layouts/{name}" in path.read_text():
            return ["--data.root", f"{phantom}/layouts/{name}"]
    mimic = ["--data.image_root", f"{phantom}/mimic-cxr-jpg", "--data.report_root", f"{phantom}/mimic-cxr"]
    if "pinned:" in path.read_text():
        return [*mimic, "--data.pinned", str(pinned_list(phantom))]
    return [*mimic, *["--data.labels", PLANTED] * ("ClassificationTask" in path.read_text())]


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
