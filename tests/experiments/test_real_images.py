"""docs/real_images.md as it is written: its code makes the tables, its commands read real images and take steps."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from shipped import ROOT

from data_modules.annotated import AnnotatedDataModule
from data_modules.pairs import PairsDataModule
from data_modules.text.tokenizer import TextOptions
from mpma_lightning.cli.main import main

PAGE = (ROOT / "docs" / "real_images.md").read_text()
NIH = ["Pneumonia", "Infiltration", "Atelectasis", "Edema", "Effusion"]
FOLDERS = {
    "nih1000": {"images": "nih_cxr14_images/images", "labels.csv": "nih_cxr14_images/labels.csv"},
    "kermany": {name: f"kermany_cxr/{name}" for name in ("train", "val", "test")},
    "kvasir": {"images": "polyp_seg/Kvasir-SEG/images", "masks": "polyp_seg/Kvasir-SEG/masks",
               "phrases": "polyp_seg/medvlsm_anns/kvasir_polyp"},
    "cvc": {"images": "polyp_seg/CVC-ClinicDB/images", "masks": "polyp_seg/CVC-ClinicDB/masks",
            "phrases": "polyp_seg/medvlsm_anns/clinicdb_polyp"},
}  # fmt: skip
FEW = ["--trainer.max_steps", "2", "--trainer.limit_val_batches", "2", "--data.num_workers", "0"]


def commands(word: str) -> list[list[str]]:
    lines = re.findall(rf"^\.venv/bin/python -m mpma_lightning ({word} .*)$", PAGE, re.MULTILINE)
    return [shlex.split(line) for line in lines]


@pytest.fixture(scope="module")
def work(sample_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory as the page describes it: links to the images, its tables and its split files."""
    out = tmp_path_factory.mktemp("real")
    for folder, parts in FOLDERS.items():
        (out / "data" / folder).mkdir(parents=True)
        for name, source in parts.items():
            if not (sample_data / source).exists():
                pytest.skip(f"sample data have no {source}")
            (out / "data" / folder / name).symlink_to(sample_data / source)
    (out / "data" / "splits").mkdir()
    (out / "experiments").symlink_to(ROOT / "experiments")
    for name, block in re.findall(r"\(`(\w+\.yaml)`\):\n\n```yaml\n(.*?)```", PAGE, re.DOTALL):
        (out / name).write_text(block)
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        subprocess.run([sys.executable, "-c", block], cwd=out, check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(out)
        for command in commands("split"):
            assert main(command) == 0
    return out


def read(kind: Any, work: Path, name: str, **options: Any) -> Any:
    data = kind(str(work / "data" / name), split_file=str(work / "data" / "splits" / f"{name}.csv"), num_workers=0,
                image_size=32, **options)  # fmt: skip
    data.setup()
    return data


def test_value_nih_films_are_apart_by_patient(work: Path) -> None:
    data = read(PairsDataModule, work, "nih1000", label_columns=NIH, text=TextOptions(from_labels=True))
    index = data.index
    assert sum(data.spec.counts.values()) == 1000 and index["patient"].nunique() == 682
    assert (index.groupby("patient")["split"].nunique() == 1).all() and data.spec.texts_from_labels == 1000
    assert index["Pneumonia"].sum() == 500 and all(index.loc[index["split"] == "test", NIH].sum() >= 10)
    assert data.samples("test")[0]["image"].shape == (1, 32, 32)


def test_value_kermanys_films_are_apart_by_patient_and_hash(work: Path) -> None:
    data = read(PairsDataModule, work, "kermany", label_columns=["Pneumonia"])
    index = data.index
    assert sum(data.spec.counts.values()) == 5216 and index["Pneumonia"].sum() == 2712 + 581 + 582
    for column in ("patient", "study"):
        assert (index.groupby(column)["split"].nunique() == 1).all()
    assert index["study"].nunique() < 5216, "equal files are one study"


@pytest.mark.parametrize(("name", "count", "phrases"), [("kvasir", 998, 998), ("cvc", 609, 609)])
def test_value_polyps_have_masks_boxes_and_phrases(work: Path, name: str, count: int, phrases: int) -> None:
    options = {"boxes": "boxes.json", "table": "phrases.csv", "channels": 3}
    data = read(AnnotatedDataModule, work, name, masks="masks", mask_class="polyp", text_column="text", **options)
    assert sum(data.spec.counts.values()) == phrases <= count and data.spec.box_classes == ["polyp"]
    assert (data.index.groupby("patient")["split"].nunique() == 1).all()
    for i in range(0, len(data.samples("test")), 10):
        sample = data.samples("test")[i]
        drawn = pd.Series(sample["boxes"][0].tolist())
        assert "polyp" in sample["text"] and sample["mask"].any() and len(sample["boxes"]) >= 1
        rows, columns = sample["mask"][0].nonzero(as_tuple=True)
        assert drawn[0] <= columns.float().mean() + 16 and drawn[3] >= rows.float().mean() - 16
    if name == "cvc":
        assert data.index["patient"].nunique() == 29


@pytest.mark.full
def test_smoke_every_command_of_the_page_takes_steps(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(work)
    lines = re.findall(r"^\.venv/bin/python -m mpma_lightning ((?:check|fit|test) .*)$", PAGE, re.MULTILINE)
    for words in map(shlex.split, lines):
        small = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--data.batch_size", "8"]
        probe = "probe.yaml" in words
        few = {"fit": FEW if not probe else FEW[4:], "test": FEW[4:], "check": []}[words[0]]
        assert main([*words, *few, *(small if words[0] != "check" else [])]) == 0, words
