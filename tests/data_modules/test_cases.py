"""Small files of the kinds that broke readers: what comes out of each now. They are never copied into the project."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from data_modules.annotated import AnnotatedDataModule
from data_modules.checks import check
from data_modules.chexpert import CheXpertDataModule
from data_modules.errors import UserError
from data_modules.images.folder import folder_index
from data_modules.images.source import image_source
from data_modules.index.labels import refuse_without_positive
from data_modules.mimic_cxr import MIMICCXRDataModule
from data_modules.nih_chestxray14 import NIHChestXray14DataModule
from data_modules.pairs import PairsDataModule
from data_modules.text.text_files import read_texts
from data_modules.text.tokenizer import TextOptions, Tokenizer

Cases = Path
SHORT = TextOptions(vocab_size=400, min_tokens=1, min_count=1)


def index_of(data: Any) -> pd.DataFrame:
    data.setup()
    assert data.index is not None
    return data.index


def pairs(folder: Path, **options: Any) -> PairsDataModule:
    return PairsDataModule(str(folder), text=SHORT, image_size=16, num_workers=0, **options)


REFUSED: dict[str, tuple[Callable[[Cases], Any], str]] = {
    "empty_table": (lambda c: pairs(c / "empty_table"), r"pairs\.csv: found an empty table"),
    "unquoted_commas": (lambda c: pairs(c / "unquoted_commas"), r"pairs\.csv: found 5 fields in row 3, expected 3"),
    "labels_minus_one": (
        lambda c: pairs(c / "labels_minus_one", label_columns=["Edema", "Effusion"]),
        r"found '-1' in row 2, column Effusion, expected 1, 0 or blank; set data\.uncertain",
    ),
    "labels_grades": (
        lambda c: pairs(c / "labels_grades", label_columns=["severity"]),
        r"found '2' in row 4, column severity, expected 1, 0 or blank",
    ),
    "coco_repeated_ids": (
        lambda c: AnnotatedDataModule(str(c / "coco_repeated_ids"), boxes="boxes.json"),
        r"3 image ids are not unique \(first: 1 of a0\.png and b0\.png\)",
    ),
    "lists_overlap": (
        lambda c: NIHChestXray14DataModule(str(c / "lists_overlap/nih"), lists=str(c / "lists_overlap/lists")),
        r"val\.txt: 2 of its 2 names are also in .*train\.txt \(first: 00000008_000\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_error(case: str, sample_cases: Path) -> None:
    make, line = REFUSED[case]
    with pytest.raises(UserError, match=line):
        make(sample_cases).setup()


def test_value_ids_are_text(sample_cases: Path) -> None:
    excluded = sample_cases / "float_ids/exclude.json"
    data = pairs(sample_cases / "float_ids", exclude=[str(excluded)])
    assert "10000034" in set(index_of(data)["patient"]) and data.spec.dropped == {"excluded patient": 2}
    assert index_of(pairs(sample_cases / "long_ids"))["patient"].nunique() == 8


@pytest.mark.parametrize("name", ["folders", "csv_rows"])
def test_error_an_exclusion_that_excludes_nobody(name: str, sample_cases: Path) -> None:
    root = str(sample_cases / "blank_rows_mimic")
    lists = sample_cases / "lists_overlap"
    make = {"labels": [], "image_size": 16, "text": SHORT}
    with pytest.raises(UserError, match=rf"{name}\.txt: none of its \d patients .* such as 1000000\d; list"):
        MIMICCXRDataModule(root, root, exclude=[str(lists / f"{name}.txt")], **make).setup()
    data = MIMICCXRDataModule(root, root, exclude=[str(lists / "right.txt")], **make)
    assert len(index_of(data)) == 4


def test_value_blank_rows(sample_cases: Path) -> None:
    root = str(sample_cases / "blank_rows_mimic")
    assert len(index_of(MIMICCXRDataModule(root, root, labels=["Edema"], text=SHORT))) == 6
    assert len(index_of(CheXpertDataModule(str(sample_cases / "blank_rows_chexpert"), val_share=0.2))) == 16


def test_value_tables(sample_cases: Path) -> None:
    assert len(index_of(pairs(sample_cases / "cr_only"))) == 4
    minus = pairs(sample_cases / "labels_minus_one", label_columns=["Edema", "Effusion"], uncertain="ignore")
    assert set(index_of(minus)["Edema"].dropna()) == {0, 1}
    texts = index_of(pairs(sample_cases / "text_lists"))["text"]
    assert not texts.str.contains(r"[\[\]]").any() and texts.str.count(r"\.").eq(2).all()
    r2gen = index_of(pairs(sample_cases / "r2gen_json"))
    assert r2gen["split"].value_counts().to_dict() == {"train": 8, "val": 2, "test": 2}
    assert r2gen.groupby("study").size().eq(2).all() and r2gen.groupby("study")["group"].nunique().eq(1).all()


def test_value_images_inside_a_table(sample_cases: Path) -> None:
    frame = index_of(pairs(sample_cases / "parquet_image_struct"))
    assert len(frame) and all(image_source(path).read().shape == (40, 40) for path in frame["image"])
    result = check("pairs", sample_cases / "parquet_image_struct", pairs(sample_cases / "parquet_image_struct"))
    assert not [finding for finding in result.findings if finding.severity != "info"]  # a row has no suffix to be wrong


def test_value_coco(sample_cases: Path) -> None:
    for case, note in (("coco_crowd", "crowd region"), ("coco_flat_bbox", "box without area")):
        data = AnnotatedDataModule(str(sample_cases / case), boxes="boxes.json")
        frame = index_of(data)
        assert len(frame) == 3 and frame["boxes"].map(len).tolist() == [1, 1, 1]
        assert data.spec.dropped == {"only crowd regions or boxes without area": 1} and note in " ".join(
            data.spec.notes
        )
    data = AnnotatedDataModule(str(sample_cases / "coco_no_size"), boxes="boxes.json", image_size=60)
    data.setup()
    boxes = [
        data.samples(split)[i]["boxes"] for split in ("train", "val", "test") for i in range(len(data.samples(split)))
    ]
    assert len(boxes) == 4 and all(len(own) == 1 for own in boxes)


def test_value_names(sample_cases: Path) -> None:
    assert folder_index(sample_cases / "same_stem")["id"].tolist() == ["scan.bmp", "scan.jpg", "scan.png"]


def test_value_vocabulary(sample_cases: Path) -> None:
    tokenizer = Tokenizer.load(str(sample_cases / "vocab_u2028/bert"))
    assert [tokenizer.piece(i) for i in (5, 6, 7, 8, 9, 34)] == [".", ",", "\u2028", "-", "a", "z"]


def test_value_texts_for_a_tokeniser(sample_cases: Path) -> None:
    folder = sample_cases / "tokenizer_texts"
    counts = {name: len(list(read_texts(folder / name))) for name in ("blank_line.jsonl", "bom.csv", "separator.jsonl")}
    assert counts == {"blank_line.jsonl": 6, "bom.csv": 6, "separator.jsonl": 6}
    with pytest.raises(UserError, match=r"latin1\.csv: found byte 16 that is not UTF-8"):
        list(read_texts(folder / "latin1.csv"))
    with pytest.raises(UserError, match=r"numbers\.jsonl: row 1 is str, expected an object"):
        list(read_texts(folder / "numbers.jsonl"))


def test_error_a_class_without_a_positive_in_validation(sample_cases: Path) -> None:
    frame = index_of(pairs(sample_cases / "val_without_positive", label_columns=["Pneumonia"]))
    refuse_without_positive(frame[frame["split"] == "train"], "train", ["Pneumonia"])
    with pytest.raises(UserError, match="'Pneumonia' has no positive among the 4 samples of val; leave it out"):
        refuse_without_positive(frame[frame["split"] == "val"], "val", ["Pneumonia"])
    root = sample_cases / "val_without_positive"
    result = check("pairs", root, pairs(root, label_columns=["Pneumonia"]))
    (warning,) = [finding for finding in result.findings if finding.severity == "warning"]
    assert warning.kind == "class without a positive" and "among the 4 samples of val" in warning.message
