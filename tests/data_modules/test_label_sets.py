"""CheXpert, NIH ChestX-ray14 and COVIDx in their true layouts, and the label policies."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_modules.chexpert import CheXpertDataModule
from data_modules.covidx import COVIDxDataModule
from data_modules.errors import UserError
from data_modules.index.labels import read_labels, same_class
from data_modules.index.listed_splits import read_pinned
from data_modules.nih_chestxray14 import CLASSES, NIHChestXray14DataModule, read_entries

CHEXPERT_HEADER = "Path,Sex,Age,Frontal/Lateral,AP/PA,Lung Lesion,Edema,Consolidation,Atelectasis"
FIVE = ["Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion"]


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 16), 90, np.uint8)).save(path)


@pytest.fixture
def chexpert(tmp_path: Path) -> Path:
    """40 training patients with a frontal and a lateral image, 4 official validation patients."""
    tables = {"train": [CHEXPERT_HEADER], "valid": [CHEXPERT_HEADER]}
    for n in range(44):
        split = "train" if n < 40 else "valid"
        for k, view in enumerate(("Frontal", "Lateral"), start=1):
            name = f"{split}/patient{n:05d}/study1/view{k}_{view.lower()}.jpg"
            picture(tmp_path / name)
            values = "1.0,-1.0,-1.0,-1.0" if n == 0 else ",1.0,0.0," if n % 2 else ",0.0,1.0,1.0"
            ap = "AP" if view == "Frontal" else ""
            tables[split].append(f"CheXpert-v1.0-small/{name},Male,50,{view},{ap},{values}")
    for split, lines in tables.items():
        (tmp_path / f"{split}.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def labels_of(module: CheXpertDataModule | NIHChestXray14DataModule, name: str) -> pd.Series:
    assert module.index is not None
    return module.index.set_index("id").loc[name, module.label_names]


def test_value_chexpert_splits_views_and_labels_by_name(chexpert: Path) -> None:
    data = CheXpertDataModule(str(chexpert), labels=["Edema", "Atelectasis"], val_share=0.25, image_size=16)
    data.setup()
    assert data.index is not None
    assert data.spec.counts["test"] == 4 and data.spec.counts["train"] + data.spec.counts["val"] == 40
    assert 3 <= data.spec.counts["val"] <= 17 and data.spec.dropped == {"view": 44}
    assert set(data.index.loc[data.index["split"] == "test", "id"].str.split("/").str[0]) == {"valid"}
    odd = labels_of(data, "train/patient00001/study1/view1_frontal.jpg")
    assert odd["Edema"] == 1 and odd["Atelectasis"] == 0
    assert data.samples("test")[0]["image"].shape == (1, 16, 16)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("zeros", [0, 0, 0, 1]),
        ("ones", [1, 1, 1, 1]),
        ("ignore", [np.nan, np.nan, np.nan, 1]),
        ("gloria", [1, 0, 1, 1]),
    ],
)
def test_value_uncertain_policies_by_name(chexpert: Path, policy: str, expected: list[float]) -> None:
    names = ["Edema", "Consolidation", "Atelectasis", "Lung Lesion"]
    table, _ = read_labels(chexpert / "train.csv", "Path", names, policy, "zeros")  # type: ignore[arg-type]
    np.testing.assert_array_equal(table.iloc[0].to_numpy(), np.array(expected, np.float32))


def test_value_blank_policies_and_gloria_on_other_classes(chexpert: Path) -> None:
    ignored, _ = read_labels(chexpert / "train.csv", "Path", ["Lung Lesion"], "ignore", "ignore")
    assert ignored["Lung Lesion"].isna().sum() == len(ignored) - 2
    text = (chexpert / "train.csv").read_text().replace("1.0,-1.0,-1.0,-1.0", "-1.0,1.0,1.0,1.0")
    (chexpert / "train.csv").write_text(text)
    mixed, _ = read_labels(chexpert / "train.csv", "Path", ["Lung Lesion"], "gloria", "zeros")
    assert mixed["Lung Lesion"].isna().sum() == 2


def test_value_pinned_list_takes_the_place_of_the_test_split(chexpert: Path) -> None:
    listed = [f"CheXpert-v1.0/train/patient{n:05d}/study1/view1_frontal.jpg" for n in (3, 8)]
    pinned = chexpert / "chexpert_5x200.csv"
    pinned.write_text("Path,Edema\n" + "".join(f"{path},1.0\n" for path in listed))
    data = CheXpertDataModule(
        str(chexpert), labels=["Edema"], views=["Frontal", "Lateral"], pinned=str(pinned), val_share=0.25
    )
    data.setup()
    assert data.index is not None
    test = data.index[data.index["split"] == "test"]
    assert set(test["patient"]) == {"patient00003", "patient00008"} and len(test) == 2
    assert data.spec.dropped == {"other sample of a pinned patient": 2, "not in the pinned list": 8}
    assert not data.index.loc[data.index["split"] != "test", "patient"].isin(["patient00003", "patient00008"]).any()


@pytest.mark.parametrize("column", ["Path", "path", "id", "dicom_id"])
def test_value_pinned_list_by_any_usual_column(tmp_path: Path, column: str) -> None:
    (tmp_path / "pinned.csv").write_text(f"study_id,{column}\n1,a/b.jpg\n2,c\n")
    assert read_pinned(str(tmp_path / "pinned.csv")) == ["a/b.jpg", "c"]
    (tmp_path / "pinned.csv").write_text("study_id,film\n1,a\n")
    with pytest.raises(UserError, match=r"found columns study_id, film, expected one of Path, path, dicom_id, id;"):
        read_pinned(str(tmp_path / "pinned.csv"))


def test_error_chexpert(chexpert: Path) -> None:
    with pytest.raises(UserError, match=r"train.csv: found no column Cardiomegaly .* data.labels"):
        CheXpertDataModule(str(chexpert)).setup()
    with pytest.raises(UserError, match="no usable sample"):
        CheXpertDataModule(str(chexpert), labels=["Edema"], views=["Neither"]).setup()  # type: ignore[list-item]
    (chexpert / "list.txt").write_text("train/patient99999/study1/view1_frontal.jpg # absent\n")
    with pytest.raises(UserError, match="1 of 1 listed samples are not in the data"):
        CheXpertDataModule(str(chexpert), labels=["Edema"], pinned=str(chexpert / "list.txt")).setup()
    with pytest.raises(UserError, match="pinned list not found"):
        read_pinned(str(chexpert / "absent.txt"))
    text = (chexpert / "train.csv").read_text().replace("CheXpert-v1.0-small/train/patient00007", "patient00007", 1)
    (chexpert / "train.csv").write_text(text)
    data = CheXpertDataModule(str(chexpert), labels=["Edema"], views=["Frontal", "Lateral"], val_share=0.25)
    data.setup()
    assert data.spec.dropped == {"path of another form": 1} and sum(data.spec.counts.values()) == 87
    (chexpert / "train.csv").write_text(text.replace("CheXpert-v1.0-small/train/patient00008", "patient00008"))
    with pytest.raises(UserError, match=r"found Path 'patient00007/study1.* in row 16, .*\(3 of 80 such records\)"):
        CheXpertDataModule(str(chexpert), labels=["Edema"]).setup()


NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)


@pytest.fixture
def nih(tmp_path: Path) -> Path:
    """60 patients of two images in two folders; the 2017 header with its trailing empty column."""
    lines, names = [NIH_HEADER], []
    for n in range(60):
        for visit in range(2):
            name = f"{n + 1:08d}_{visit:03d}.png"
            picture(tmp_path / f"images_00{visit + 1}" / "images" / name)
            finding = "Hernia|Infiltration" if n == 0 else "Effusion" if n % 3 == 0 else "No Finding"
            lines.append(f"{name},{finding},{visit},{n + 1},58,M,PA,2682,2749,0.143,0.143,")
            names.append(name)
    (tmp_path / "Data_Entry_2017.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "train_val_list.txt").write_text("\n".join(names[:96]) + "\n")
    (tmp_path / "test_list.txt").write_text("\n".join(names[96:]) + "\n")
    return tmp_path


def test_value_nih_official_and_70_10_20(nih: Path) -> None:
    official = NIHChestXray14DataModule(str(nih), split="official", image_size=16)
    official.setup()
    assert official.spec is not None and official.index is not None
    assert official.spec.counts["test"] == 24 and official.spec.counts["train"] + official.spec.counts["val"] == 96
    row = labels_of(official, "00000001_001.png")
    assert row[row == 1].index.tolist() == ["Infiltration", "Hernia"] and not row.isna().any()
    assert official.samples("test")[0]["labels"].shape == (14,)
    drawn = NIHChestXray14DataModule(str(nih))
    drawn.setup()
    assert drawn.index is not None and not drawn.index.groupby("patient")["split"].nunique().gt(1).any()
    share = drawn.index["split"].value_counts(normalize=True)
    assert 0.5 < share["train"] < 0.9 and 0.05 < share["test"] < 0.35


@pytest.mark.parametrize("ending", ["", "_list"])
def test_value_nih_published_lists(nih: Path, ending: str) -> None:
    """MRM's folder also has ``train_1.txt`` and ``train_10.txt``: 1 and 10 % of its training list."""
    lists = nih / "lists"
    lists.mkdir()
    names = [f"{n + 1:08d}_{visit:03d}.png" for n in range(60) for visit in range(2)]
    parts = {"train": names[:60], "val": names[60:80], "test": names[80:118]}
    for name, part in {
        "train_1": names[:1],
        "train_10": names[:6],
        **{k + ending: v for k, v in parts.items()},
    }.items():
        (lists / f"{name}.txt").write_text("".join(f"images/{x} 0 1 0\n" for x in part))
    data = NIHChestXray14DataModule(str(nih), lists=str(lists))
    data.setup()
    assert data.spec.counts == {"train": 60, "val": 20, "test": 38}
    assert data.spec.dropped == {"image in no list": 2}
    (lists / f"train{ending}.txt").unlink()
    with pytest.raises(UserError, match=r"split list not found, neither train.txt nor train_list.txt"):
        NIHChestXray14DataModule(str(nih), lists=str(lists)).setup()


def test_error_nih(nih: Path) -> None:
    with pytest.raises(UserError, match=r"no image with label 'Hernja'; did you mean 'Hernia'"):
        NIHChestXray14DataModule(str(nih), labels=["Hernja"]).setup()
    with pytest.raises(UserError, match="lists belong to 70/10/20"):
        NIHChestXray14DataModule(str(nih), split="official", lists=str(nih))
    (nih / "test_list.txt").write_text("00000060_001.png\n00000061_000.png\n")
    with pytest.raises(UserError, match=r"1 of 98 listed samples are not in the data \(first: 00000061_000\)"):
        NIHChestXray14DataModule(str(nih), split="official").setup()
    (nih / "test_list.txt").unlink()
    with pytest.raises(UserError, match=r"test_list.txt: split list not found"):
        NIHChestXray14DataModule(str(nih), split="official").setup()


def test_value_real_nih_tables(sample_data: Path) -> None:
    root = sample_data / "nih_cxr14_labels"
    data = NIHChestXray14DataModule(str(root))
    frame = data.read_index()
    assert len(frame) == 112_120 and frame["patient"].nunique() == 30_805
    documented = {"Infiltration": 19_894, "Effusion": 13_317, "Pleural_Thickening": 3_385, "Hernia": 227}
    assert {name: int(frame[name].sum()) for name in documented} == documented
    assert int((frame[list(CLASSES)].sum(axis=1) == 0).sum()) == 60_361
    assert not frame.groupby("patient")["split"].nunique().gt(1).any()
    boxes = data.boxes()
    assert len(boxes) == 984 and boxes["id"].nunique() == 880 and boxes["label"].nunique() == 8
    assert set(boxes["label"]) <= set(CLASSES) and boxes["id"].isin(frame["id"]).all()
    assert boxes.iloc[0].tolist() == ["00013118_008.png", "Atelectasis", 225.084745762712, 547.019216763771,
                                      86.7796610169491, 79.1864406779661]  # fmt: skip
    assert read_entries(root)[0].name == "Data_Entry_2017_v2020.csv.gz"


def test_value_gzipped_nih_table(nih: Path) -> None:
    plain = nih / "Data_Entry_2017.csv"
    (nih / "Data_Entry_2017.csv.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    assert len(read_entries(nih)[1]) == 120


@pytest.fixture
def covidx(tmp_path: Path) -> Path:
    lists = {"train": [], "test": []}  # type: dict[str, list[str]]
    for n in range(30):
        split = "train" if n < 24 else "test"
        picture(tmp_path / split / f"{n}.png")
        name = ("normal", "pneumonia", "COVID-19")[n % 3]
        lists[split].append(f"{n % 24} {n}.png {name} {'rnsa' if n % 2 else 'rsna'}")
    for split, lines in lists.items():
        (tmp_path / "labels").mkdir(exist_ok=True)
        (tmp_path / "labels" / f"{split}_COVIDx9A.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_value_covidx_is_one_hot_and_no_patient_leaks(covidx: Path) -> None:
    data = COVIDxDataModule(str(covidx), image_size=16)
    data.setup()
    assert data.index is not None
    assert data.spec.classes == ["normal", "pneumonia", "COVID-19"] and data.spec.exclusive
    assert data.index[data.spec.classes].sum(axis=1).eq(1).all() and set(data.index["source"]) == {"rsna"}
    assert data.spec.dropped == {"training image of a test patient": 6} and data.spec.counts["test"] == 6
    row = data.index.set_index("id").loc["test/25.png"]
    assert row["pneumonia"] == 1 and row["patient"] == "rsna/1"


def test_value_covidx_cxr_4_has_one_label_and_its_own_validation(tmp_path: Path) -> None:
    lists = {"train": [(0, "positive"), (1, "negative"), (2, "negative"), (3, "positive")],
             "val": [(2, "negative"), (4, "positive")], "test": [(3, "positive"), (5, "negative")]}  # fmt: skip
    for split, rows in lists.items():
        lines = [f"{patient} {split}{patient}.png {name} rsna" for patient, name in rows]
        (tmp_path / f"{split}.txt").write_text("\n".join(lines) + "\n")
        for patient, _ in rows:
            picture(tmp_path / split / f"{split}{patient}.png")
    data = COVIDxDataModule(str(tmp_path), version="CXR-4", image_size=16)
    data.setup()
    assert data.index is not None and data.spec.classes == ["COVID-19"] and not data.spec.exclusive
    assert data.spec.counts == {"train": 2, "val": 2, "test": 2}
    assert data.spec.dropped == {"training image of a test patient": 1, "training image of a val patient": 1}
    labels = data.index.set_index("id")["COVID-19"]
    assert labels["train/train0.png"] == 1 and labels["val/val2.png"] == 0 and labels["test/test3.png"] == 1


def test_value_covidx_split_is_drawn_from_every_training_image(covidx: Path) -> None:
    """Which patients validate does not depend on which of them the test list has."""
    validating = []
    for count in (6, 3):
        path = covidx / "labels" / "test_COVIDx9A.txt"
        path.write_text("\n".join(path.read_text().splitlines()[:count]) + "\n")
        data = COVIDxDataModule(str(covidx))
        rows = data.read_index()
        assert len(rows) == 24 + count and not data.dropped
        validating.append(set(rows.loc[rows["split"] == "val", "id"]))
    assert validating[0] == validating[1] != set()


def test_error_covidx(covidx: Path) -> None:
    with pytest.raises(UserError, match=r"train_COVIDx9B.txt: list not found"):
        COVIDxDataModule(str(covidx), version="9B").setup()
    path = covidx / "labels" / "train_COVIDx9A.txt"
    good = path.read_text()
    path.write_text(good + "99 99.png normal\n98 98.png norml rsna\n")
    data = COVIDxDataModule(str(covidx))
    data.setup()
    assert data.spec.dropped == {
        "line without patient, file, class and source": 1,
        "unknown class": 1,
        "training image of a test patient": 6,
    }
    path.write_text(good + "99 99.png normal\n" * 2)
    with pytest.raises(UserError, match=r"found 3 words in row 25, .*\(2 of 26 such records\)"):
        COVIDxDataModule(str(covidx)).setup()
    path.write_text(good.replace("pneumonia", "pnuemonia"))
    with pytest.raises(UserError, match=r"'pnuemonia' .*classes found: COVID-19, normal, pneumonia, pnuemonia\)"):
        COVIDxDataModule(str(covidx)).setup()


def test_value_same_class_under_other_names() -> None:
    assert same_class("Effusion", FIVE) == "Pleural Effusion" and same_class("Edema", FIVE) == "Edema"
    assert same_class("Mass", FIVE) is None
