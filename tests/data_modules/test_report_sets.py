"""Corpora of images and reports in their true layouts: CheXpert Plus, ReXGradient-160K, PadChest."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_modules.checks import check
from data_modules.chexpert_plus import CheXpertPlusDataModule
from data_modules.errors import UserError
from data_modules.padchest import TABLE, PadChestDataModule, terms_of
from data_modules.rexgradient import FILE, ReXGradientDataModule
from data_modules.text.tokenizer import TextOptions

SMALL: dict[str, Any] = {"image_size": 16, "num_workers": 0, "text": TextOptions(vocab_size=300, min_count=1)}


def picture(path: Path, number: int = 0, deep: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shade = np.random.default_rng(number).integers(0, 4000 if deep else 255, (20, 16))
    Image.fromarray(shade.astype(np.uint16 if deep else np.uint8)).save(path)


PLUS = (
    "path_to_image,frontal_lateral,deid_patient_id,patient_report_date_order,report,section_findings,"
    "section_impression,split"
)


@pytest.fixture
def plus(tmp_path: Path) -> Path:
    """6 training and 2 validation patients; patient 0 has two images, with another section each; patient 1 no text."""
    lines, labels = [PLUS], []
    for n in range(8):
        split = "train" if n < 6 else "valid"
        for k in range(2 if n == 0 else 1):
            stem = f"{split}/patient{n:05d}/study1/view{k + 1}_frontal"
            picture(tmp_path / "PNG" / f"{stem}.png", 10 * n + k)
            text = "" if n == 1 else f"Lungs clear in case {n}.{k}."
            whole = f'"EXAM\n{text}"'
            lines.append(
                f"{stem}.jpg,Frontal,patient{n:05d},1,{whole},{text if n == 0 else ''},{text if n else ''},{split}"
            )
            labels.append(json.dumps({"path_to_image": f"{stem}.jpg", "Edema": [1.0, None, -1.0][n % 3]}))
    (tmp_path / "df_chexpert_plus_240401.csv").write_text("\n".join(lines))
    (tmp_path / "chexbert_labels").mkdir()
    (tmp_path / "chexbert_labels" / "impression_fixed.json").write_text("\n".join(labels))
    return tmp_path


def test_value_chexpert_plus(plus: Path) -> None:
    data = CheXpertPlusDataModule(str(plus), labels=["Edema"], labels_from="impression", **SMALL)
    data.setup()
    assert data.index is not None and data.spec.counts == {"train": 6, "val": 2, "test": 0}
    assert data.spec.dropped == {"report without findings or impression": 1}
    rows = data.index.set_index("id")
    first = rows.loc["train/patient00000/study1/view1_frontal.jpg"]
    assert first["image"].endswith("PNG/train/patient00000/study1/view1_frontal.png") and first["Edema"] == 1
    assert np.isnan(rows.loc["train/patient00002/study1/view1_frontal.jpg", "Edema"])
    assert data.samples("val")[0]["image"].shape == (1, 16, 16)
    findings = CheXpertPlusDataModule(str(plus), sections="findings", **SMALL).read_index()
    assert len(findings) == 2 and len(CheXpertPlusDataModule(str(plus), sections="whole", **SMALL).read_index()) == 8
    with pytest.raises(UserError, match=r"report_fixed\.json: not found"):
        CheXpertPlusDataModule(str(plus), labels=["Edema"], **SMALL).setup()


def test_value_check_of_chexpert_plus_names_each_trap(plus: Path) -> None:
    path = plus / "df_chexpert_plus_240401.csv"
    text = path.read_text().replace("train/patient00003/study1/view1_frontal.jpg", "patient00003.jpg")
    text = text.replace("patient00005,1,", "patient00004,1,")
    text = text.replace("view2_frontal.jpg,Frontal,patient00000,1", "view2_frontal.jpg,Frontal,patient00000,2")
    path.write_text(text)
    found = check("chexpert_plus", plus, CheXpertPlusDataModule(str(plus), **SMALL))
    kinds = {finding.kind: finding.items for finding in found.findings}
    assert kinds["study with several texts"] == ["train/patient00000/study1"]
    assert kinds["study with several places in time"] == ["train/patient00000/study1"]
    assert len(kinds["place in time of two studies of a patient"]) == 2
    assert "1 samples left out: path of another form" in found.as_text()


@pytest.fixture
def rexgradient(tmp_path: Path) -> Path:
    for split, count in (("train", 4), ("valid", 2), ("test", 2)):
        studies = {}
        for n in range(count):
            name, views = f"{split}{n}_x", ["POSTERO_ANTERIOR", "LATERAL", "AP (KUB)"][: 1 + n % 3]
            paths = [f"../deid_png/{name}/{k}.png" for k in range(len(views))]
            for k, path in enumerate(paths):
                picture(tmp_path / path.removeprefix("../"), 10 * n + k)
            studies[name] = {"PatientAge": "007Y", "Findings": f"Clear in {split} {n}.", "Impression": None,
                             "ImagePath": paths, "ImageViewPosition": views}  # fmt: skip
        (tmp_path / "metadata").mkdir(exist_ok=True)
        (tmp_path / "metadata" / FILE.format(split)).write_text(json.dumps(studies))
    return tmp_path


def test_value_rexgradient(rexgradient: Path) -> None:
    data = ReXGradientDataModule(str(rexgradient), **SMALL)
    data.setup()
    assert data.index is not None and data.spec.counts == {"train": 6, "val": 3, "test": 3}
    assert data.spec.dropped == {"view": 1} and set(data.index["view"]) == {"Frontal", "Lateral"}
    assert data.index["patient"].iloc[0] == "test0" and data.index["id"].iloc[0] == "deid_png/test0_x/0.png"
    with pytest.raises(UserError, match="no usable sample"):
        ReXGradientDataModule(str(rexgradient), sections="impression", **SMALL).setup()


def test_value_check_of_rexgradient_names_each_trap(rexgradient: Path) -> None:
    path = rexgradient / "metadata" / FILE.format("train")
    studies = json.loads(path.read_text())
    studies["train0_x"]["ImageViewPosition"] = []
    path.write_text(json.dumps(studies))
    found = check("rexgradient", rexgradient, ReXGradientDataModule(str(rexgradient), **SMALL))
    assert "1 samples left out: study without images and views" in found.as_text()
    studies["train1_x"]["ImagePath"] = None
    path.write_text(json.dumps(studies))
    with pytest.raises(UserError, match=r"study train0_x has no list ImagePath .*\(2 of 4 such records\)"):
        ReXGradientDataModule(str(rexgradient), **SMALL).setup()
    path.unlink()
    with pytest.raises(UserError, match=r"train_metadata_view_position\.json: not found"):
        ReXGradientDataModule(str(rexgradient), **SMALL).setup()


@pytest.mark.parametrize(
    ("cell", "terms"),
    [
        ("['pleural effusion ', '', ' Cardiomegaly']", {"pleural effusion", "cardiomegaly"}),
        ("[]", set()),
        ("['a', 3]", None),
        ("nan", None),
        ("['a'", None),
        ("__import__('os').getcwd()", None),
    ],
)
def test_value_lists_of_labels(cell: str, terms: set[str] | None) -> None:
    assert terms_of(cell) == terms


@pytest.fixture
def padchest(tmp_path: Path) -> Path:
    """24 images: one without labels, one to exclude, one lateral; 16-bit PNG in folder 0 or flat."""
    lines = ["ImageID,ImageDir,StudyID,PatientID,Projection,MethodLabel,Labels,Report"]
    for n in range(24):
        picture(tmp_path / ("0" if n % 2 else ".") / f"i{n}.png", n, deep=True)
        labels = {3: "", 4: "\"['exclude']\""}.get(
            n, "\"['cardiomegaly ', '']\"" if n % 2 else "\"['normal', 'rib fracture']\""
        )
        method = "Physician" if n % 3 else "RNN_model"
        lines.append(f"i{n}.png,0,s{n},{n % 12},{'L' if n == 5 else 'PA'},{method},{labels},sin cambio numero {n}")
    (tmp_path / f"{TABLE}.csv").write_text("\n".join(lines))
    return tmp_path


def test_value_padchest(padchest: Path) -> None:
    data = PadChestDataModule(str(padchest), labels=["Cardiomegaly", "Fracture"], **SMALL)
    data.setup()
    assert data.index is not None and sum(data.spec.counts.values()) == 21
    assert data.spec.dropped == {"view": 1, "no labels": 1, "labelled exclude or suboptimal study": 1}
    rows = data.index.set_index("id")
    assert rows.loc["i1.png", ["Cardiomegaly", "Fracture"]].tolist() == [1, 0]
    assert rows.loc["i0.png", ["Cardiomegaly", "Fracture"]].tolist() == [0, 1]
    assert rows.groupby("patient")["split"].nunique().max() == 1
    some = PadChestDataModule(str(padchest), physician=True, split="test", reports=False, **SMALL)
    some.setup()
    assert some.spec.counts["test"] == 14 and "text" not in (some.index if some.index is not None else ["text"])


def test_value_check_of_padchest_names_each_trap(padchest: Path) -> None:
    path = padchest / f"{TABLE}.csv"
    text = path.read_text().replace(
        "i7.png,0,s7,7,PA,Physician,\"['cardiomegaly ', '']\"", "i7.png,0,s7,7,PA,Physician,cardiomegaly"
    )
    path.write_text(text)
    (padchest / "0" / "i9.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    found = check("padchest", padchest, PadChestDataModule(str(padchest), **SMALL), decode_all=True)
    assert "1 samples left out: labels that are no list" in found.as_text()
    assert any("i9.png" in item for finding in found.findings if "image" in finding.kind for item in finding.items)
    path.write_text(text.replace("\"['normal', 'rib fracture']\"", "normal"))
    with pytest.raises(UserError, match=r"found Labels 'normal' in row 2, expected a list of texts"):
        PadChestDataModule(str(padchest), **SMALL).setup()
