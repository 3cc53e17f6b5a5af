"""`check` and a run say the same of a data set: both read it, or both refuse it for the same reason."""

import json
import re
import shutil
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_modules.catalogue import data_module
from data_modules.checks import check
from data_modules.errors import UserError
from data_modules.text.tokenizer import TextOptions

if TYPE_CHECKING:
    from tests.data_modules.conftest import Tree

SPLITS = ["train"] * 4 + ["val"] * 2 + ["test"] * 2


@dataclass
class Case:
    """A data set on disk, and what both must say of it: None, or a pattern of the reason for which it is refused."""

    dataset: str
    root: Path
    refused: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    samples: int = 8


def picture(path: Path, seed: int) -> Path:
    """Noise of its own, so that no picture is like another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (40, 48), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def pairs(root: Path, names: list[str], written: list[str] | None = None, encoding: str = "utf-8") -> Case:
    """A table of ``names`` as ``written`` on disk (default: alike)."""
    for seed, name in enumerate(written or names):
        picture(root / name, seed)
    rows = [{"image": name, "text": f"A report of number {n}.", "split": SPLITS[n]} for n, name in enumerate(names)]
    pd.DataFrame(rows).to_csv(root / "pairs.csv", index=False, encoding=encoding)
    return Case("pairs", root)


def plain(extension: str = "png") -> list[str]:
    return [f"images/{n}.{extension}" for n in range(8)]


def byte_order_mark(root: Path, mimic: "Tree") -> Case:
    return pairs(root / "own", plain(), encoding="utf-8-sig")


def byte_order_mark_mimic(root: Path, mimic: "Tree") -> Case:
    for name in ("split", "metadata", "chexpert"):
        mimic.rewrite(name, "study_id", "study_id")
        first = "subject_id" if name == "chexpert" else "dicom_id"
        mimic.rewrite(name, f"{first},", f"\N{ZERO WIDTH NO-BREAK SPACE}{first},")
    return released(root, mimic)


def utf_16(root: Path, mimic: "Tree") -> Case:
    return Case("pairs", pairs(root / "own", plain(), encoding="utf-16").root, r"found UTF-16 text, expected UTF-8")


def back_slashes(root: Path, mimic: "Tree") -> Case:
    return pairs(root / "own", [name.replace("/", "\\") for name in plain()], plain())


def composed(root: Path, mimic: "Tree") -> Case:
    names = [f"images/Größe {n}.png" for n in range(8)]
    forms = [[unicodedata.normalize(form, name) for name in names] for form in ("NFC", "NFD")]
    return pairs(root / "own", forms[0], forms[1])


def decomposed(root: Path, mimic: "Tree") -> Case:
    case = composed(root, mimic)
    table = (case.root / "pairs.csv").read_text(encoding="utf-8")
    (case.root / "pairs.csv").write_text(unicodedata.normalize("NFD", table), encoding="utf-8")
    for file in sorted((case.root / "images").iterdir()):
        file.rename(file.with_name(unicodedata.normalize("NFC", file.name)))
    return case


def linked_pictures(root: Path, mimic: "Tree") -> Case:
    case = pairs(root / "own", plain())
    for file in sorted((case.root / "images").iterdir()):
        elsewhere = root / "elsewhere" / file.name
        elsewhere.parent.mkdir(exist_ok=True)
        file.rename(elsewhere)
        file.symlink_to(elsewhere)
    return case


def linked_folder(root: Path, mimic: "Tree") -> Case:
    case = pairs(root / "own", plain())
    (case.root / "images").rename(root / "elsewhere")
    (case.root / "images").symlink_to(root / "elsewhere")
    return case


def linked_folder_without_a_table(root: Path, mimic: "Tree") -> Case:
    case = masked(root, mimic)
    for folder in ("images", "masks"):
        (case.root / folder / "more").rename(root / folder)
        (case.root / folder / "more").symlink_to(root / folder)
    return case


def broken_link(root: Path, mimic: "Tree") -> Case:
    case = linked_pictures(root, mimic)
    (root / "elsewhere" / "3.png").unlink()
    return Case("pairs", case.root, r"images/3\.png")


def broken_link_that_is_allowed(root: Path, mimic: "Tree") -> Case:
    root = broken_link(root, mimic).root
    return Case("pairs", root, arguments={"max_missing": 0.25}, samples=7)


def folder_in_place_of_a_picture(root: Path, mimic: "Tree") -> Case:
    case = pairs(root / "own", plain())
    (case.root / "images" / "3.png").unlink()
    (case.root / "images" / "3.png").mkdir()
    return Case("pairs", case.root, r"images/3\.png")


def masked(root: Path, mimic: "Tree") -> Case:
    """Images in ``images/more`` with a mask each in ``masks/more``."""
    for n in range(8):
        picture(root / "own" / "images" / "more" / f"{n}.jpg", n)
        mask = np.zeros((40, 48), np.uint8)
        mask[: n + 5] = 255
        (root / "own" / "masks" / "more").mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(root / "own" / "masks" / "more" / f"{n}.png")
    return Case("annotated", root / "own", arguments={"masks": "masks"})


def apple_metadata(root: Path, mimic: "Tree") -> Case:
    case = masked(root, mimic)
    for file in [path for path in sorted(case.root.rglob("*")) if path.is_file()]:
        file.with_name(f"._{file.name}").write_bytes(b"\0\5\26\7")
    return case


def apple_metadata_of_tables(root: Path, mimic: "Tree") -> Case:
    case = released(root, mimic)
    for file in [path for path in sorted(case.root.rglob("*")) if path.is_file()]:
        file.with_name(f"._{file.name}").write_bytes(b"\0\5\26\7")
    return case


def jpg_beside_png(root: Path, mimic: "Tree") -> Case:
    case = released(root, mimic)
    for n, file in enumerate(sorted(case.root.rglob("*.jpg"))):
        picture(file.with_suffix(".png"), 100 + n)
    return case


def png_alone(root: Path, mimic: "Tree") -> Case:
    case = released(root, mimic)
    for n, file in enumerate(sorted(case.root.rglob("*.jpg"))):
        picture(file.with_suffix(".png"), 100 + n)
        file.unlink()
    return case


def masks_of_both_endings(root: Path, mimic: "Tree") -> Case:
    case = masked(root, mimic)
    shutil.copy(case.root / "masks/more/3.png", case.root / "masks/more/3.bmp")
    return Case("annotated", case.root, r"found masks more/3\.\w+ and more/3\.\w+", case.arguments)


def images_of_both_endings(root: Path, mimic: "Tree") -> Case:
    case = masked(root, mimic)
    picture(case.root / "images/more/3.png", 99)
    (case.root / "masks/more/3.png").rename(case.root / "masks/more/3.bmp")
    return Case("annotated", case.root, r"found images more/3\.\w+ and more/3\.\w+ and of masks only", case.arguments)


def released(root: Path, mimic: "Tree") -> Case:
    """The layout of the downloads: ``mimic-cxr-jpg`` and ``mimic-cxr`` in one folder."""
    (root / "own").mkdir()
    mimic.image_root.rename(root / "own" / "mimic-cxr-jpg")
    mimic.report_root.rename(root / "own" / "mimic-cxr")
    return Case("mimic_cxr", root / "own", samples=12)


def frontal_images_only(root: Path, mimic: "Tree") -> Case:
    case = released(root, mimic)
    for file in sorted(case.root.rglob("*-lateral.jpg")):
        file.unlink()
    return case


def a_frontal_image_is_missing(root: Path, mimic: "Tree") -> Case:
    case = released(root, mimic)
    next(iter(sorted(case.root.rglob("*-pa.jpg")))).unlink()
    return Case("mimic_cxr", case.root, r"00000000-pa\.jpg")


def version_folders(root: Path, mimic: "Tree") -> Case:
    case = released(root, mimic)
    for name, version in (("mimic-cxr-jpg", "2.1.0"), ("mimic-cxr", "2.0.0")):
        inside = root / "inside"
        (case.root / name).rename(inside)
        (case.root / name).mkdir()
        inside.rename(case.root / name / version)
    return case


def one_version_folder_of_everything(root: Path, mimic: "Tree") -> Case:
    case = released(root, mimic)
    whole = case.root / "2.1.0"
    (case.root / "mimic-cxr-jpg").rename(whole)
    shutil.copytree(case.root / "mimic-cxr", whole, dirs_exist_ok=True)
    shutil.rmtree(case.root / "mimic-cxr")
    return case


def several_version_folders(root: Path, mimic: "Tree") -> Case:
    case = version_folders(root, mimic)
    (case.root / "mimic-cxr-jpg" / "2.0.0").mkdir()
    return Case("mimic_cxr", case.root, r"found releases 2\.0\.0, 2\.1\.0, expected one")


def vqa_pictures_beside_the_files(root: Path, mimic: "Tree") -> Case:
    """An empty folder ``images`` does not hide the pictures."""
    (root / "own" / "images").mkdir(parents=True)
    for name, numbers in (("trainset", range(5)), ("testset", range(5, 8))):
        records = [
            {
                "qid": n,
                "image_name": picture(root / "own" / f"{n}.jpg", n).name,
                "question": f"Where is it, case {n}?",
                "answer": f"place {n}",
                "answer_type": "OPEN",
                "question_type": "POS",
                "phrase_type": "freeform" if name == "trainset" else "test_freeform",
            }
            for n in numbers
        ]
        (root / "own" / f"{name}.json").write_text(json.dumps(records))
    return Case("vqa_rad", root / "own")


def vqa_answers_that_are_blank(root: Path, mimic: "Tree") -> Case:
    case = vqa_pictures_beside_the_files(root, mimic)
    records = json.loads((case.root / "trainset.json").read_text())
    (case.root / "trainset.json").write_text(json.dumps([{**record, "answer": " "} for record in records]))
    return Case("vqa_rad", case.root, r"found answer '' in question 0, expected an answer")


CASES: list[Callable[[Path, "Tree"], Case]] = [
    byte_order_mark,
    byte_order_mark_mimic,
    utf_16,
    back_slashes,
    composed,
    decomposed,
    linked_pictures,
    linked_folder,
    linked_folder_without_a_table,
    broken_link,
    broken_link_that_is_allowed,
    folder_in_place_of_a_picture,
    masked,
    apple_metadata,
    apple_metadata_of_tables,
    jpg_beside_png,
    png_alone,
    masks_of_both_endings,
    images_of_both_endings,
    frontal_images_only,
    a_frontal_image_is_missing,
    version_folders,
    one_version_folder_of_everything,
    several_version_folders,
    vqa_pictures_beside_the_files,
    vqa_answers_that_are_blank,
]


def data_of(case: Case) -> Any:
    text = TextOptions(vocab_size=400, min_tokens=1, min_count=1)
    arguments = {"text": text, "image_size": 16, "num_workers": 0, "batch_size": 2, **case.arguments}
    return data_module(case.dataset).from_root(case.root, **arguments)


def errors_of_check(case: Case) -> str:
    try:
        result = check(case.dataset, case.root, data_of(case), decode_all=True)
    except UserError as error:
        return str(error)
    return "\n".join(
        "\n".join([finding.message, *finding.items]) for finding in result.findings if finding.severity == "error"
    )


def errors_of_run(case: Case) -> str:
    try:
        data = data_of(case)
        data.setup()
        assert len(data.index) == case.samples
        for split in ("train", "val", "test"):
            for row in range(len(data.samples(split))):
                assert data.samples(split)[row]["image"].shape[-2:] == (16, 16)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("build", CASES, ids=lambda build: build.__name__)
def test_value_check_and_run_agree(build: Callable[[Path, "Tree"], Case], tmp_path: Path, mimic: "Tree") -> None:
    case = build(tmp_path, mimic)
    for found in (errors_of_run(case), errors_of_check(case)):
        if case.refused is None:
            assert not found
        else:
            assert re.search(case.refused, found), found
