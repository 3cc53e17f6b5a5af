"""Sets with boxes in their true layouts: VinDr-CXR's readers, ChestX-Det's outlines, PadChest-GR's sentences."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_modules.checks import check
from data_modules.chestx_det import CLASSES, ChestXDetDataModule
from data_modules.errors import UserError
from data_modules.index.readers import fuse_boxes, iou
from data_modules.padchest_gr import PadChestGRDataModule
from data_modules.vindr_cxr import VinDrCXRDataModule

SMALL: dict[str, Any] = {"image_size": 16, "num_workers": 0}


def picture(path: Path, number: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shade = np.random.default_rng(number).integers(0, 255, (100, 80), dtype=np.uint8)
    Image.fromarray(shade).save(path)


def test_value_overlap_by_hand() -> None:
    one, two = np.array([0.0, 0, 10, 10]), np.array([5.0, 0, 15, 10])
    assert iou(one, two) == pytest.approx(50 / 150) and iou(one, one) == 1 and iou(one, one + 20) == 0


def boxes(*rows: tuple[str, str, list[float]]) -> pd.DataFrame:
    listed = [("a", label, reader, *corners) for reader, label, corners in rows]
    return pd.DataFrame(listed, columns=["image", "label", "reader", "x1", "y1", "x2", "y2"])


def test_value_readers_are_fused_by_class_and_overlap() -> None:
    drawn = boxes(
        ("R1", "Mass", [0, 0, 10, 10]),
        ("R2", "Mass", [2, 0, 12, 10]),
        ("R3", "Mass", [50, 50, 60, 60]),  # alone
        ("R1", "Nodule", [0, 0, 10, 10]),  # another class
        ("R2", "Mass", [1, 0, 11, 10]),  # the same reader again: another thing
    )
    fused = fuse_boxes(drawn, agreeing=2)
    assert fused.to_numpy().tolist() == [["a", "Mass", 0.5, 0, 10.5, 10]]
    every = fuse_boxes(drawn, agreeing=1)
    assert len(every) == 4 and every["label"].tolist() == ["Mass", "Mass", "Mass", "Nodule"]


TRAIN = "image_id,rad_id,class_name,x_min,y_min,x_max,y_max"


@pytest.fixture
def vindr(tmp_path: Path) -> Path:
    """10 training images of three readers, 2 of which see a mass in every second image; 2 test images."""
    lines, test = [TRAIN], ["image_id,class_name,x_min,y_min,x_max,y_max"]
    for n in range(10):
        picture(tmp_path / "train" / f"t{n}.png", n)
        for k, reader in enumerate(("R1", "R2", "R3")):
            seen = n % 2 == 0 and k < 2
            lines.append(f"t{n},{reader}," + (f"Nodule/Mass,{10 + k},10,{40 + k},50" if seen else "No finding,,,,"))
    for n in range(2):
        picture(tmp_path / "test" / f"e{n}.png", 20 + n)
        test.append(f"e{n}," + ("Atelectasis,1,2,30,40" if n else "No finding,,,,"))
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "annotations_train.csv").write_text("\n".join(lines))
    (tmp_path / "annotations" / "annotations_test.csv").write_text("\n".join(test))
    return tmp_path


def vindr_of(root: Path, **options: Any) -> VinDrCXRDataModule:
    return VinDrCXRDataModule(str(root), **SMALL, labels=["Nodule/Mass", "Atelectasis"], **options)


def test_value_vindr_two_of_three_readers(vindr: Path) -> None:
    data = vindr_of(vindr)
    data.setup()
    assert data.index is not None and data.spec.counts == {"train": 8, "val": 2, "test": 2}
    rows = data.index.set_index("id")
    assert rows.loc["t0", "boxes"] == [[10.5, 10.0, 40.5, 50.0]] and rows.loc["t0", "box_labels"] == [0]
    assert rows.loc["t1", "boxes"] == [] and rows.loc["t0", "Nodule/Mass"] == 1 and rows.loc["t1", "Nodule/Mass"] == 0
    assert rows.loc["e1", "boxes"] == [[1.0, 2.0, 30.0, 40.0]] and rows.loc["e1", "box_labels"] == [1]
    text = (vindr / "annotations" / "annotations_train.csv").read_text().replace("R2,Nodule/Mass", "R2,Atelectasis")
    (vindr / "annotations" / "annotations_train.csv").write_text(text)
    assert vindr_of(vindr).read_index()["Nodule/Mass"].sum() == 0
    either = vindr_of(vindr, readers="any").read_index().set_index("id")
    assert either.loc["t0", ["Nodule/Mass", "Atelectasis"]].tolist() == [1, 1] and len(either.loc["t0", "boxes"]) == 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("t0,R1,Nodule/Mass,10,10,40,50", "t0,R1,Nodule/Mass,40,10,10,50", "x_min < x_max"),
        ("t1,R1,No finding,,,,", "t1,R1,Nodule/Mass,,,,", "1 samples left out: odd row"),
        ("t1,R1,No finding,,,,", ",R1,No finding,,,,", "1 samples left out: odd row"),
    ],
)
def test_value_check_of_vindr_names_each_trap(vindr: Path, old: str, new: str, message: str) -> None:
    path = vindr / "annotations" / "annotations_train.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    if "x_min" in message:
        path.write_text(path.read_text().replace("t2,R1,Nodule/Mass,10,10,40,50", "t2,R1,Nodule/Mass,x,10,40,50"))
    found = check("vindr_cxr", vindr, vindr_of(vindr)).as_text()
    assert message in found, found


def test_value_vindr_kaggle_form(vindr: Path) -> None:
    lines = (vindr / "annotations" / "annotations_train.csv").read_text().splitlines()
    head = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max"
    rows = [
        f"{a},{c},{14 if c == 'No finding' else 8},{b},{rest}" for a, b, c, rest in (x.split(",", 3) for x in lines[1:])
    ]
    (vindr / "train.csv").write_text("\n".join([head, *rows]))
    data = vindr_of(vindr)
    data.setup()
    assert sum(data.spec.counts.values()) == 10 and data.spec.counts["test"] == 2
    assert data.index is not None and data.index["Nodule/Mass"].sum() == 5


@pytest.fixture
def chestx_det(tmp_path: Path) -> Path:
    for split, count in (("train", 10), ("test", 2)):
        records = []
        for n in range(count):
            name = f"{36199 + n + 100 * (split == 'test')}.png"
            picture(tmp_path / f"{split}_data" / name, n)
            square = [[10, 20], [29, 20], [29, 39], [10, 39]]
            full = {"syms": ["Mass", "Effusion"], "boxes": [[10, 20, 30, 40], [1, 1, 9, 9]],
                    "polygons": [square, [[1, 1], [8, 1], [8, 8]]]}  # fmt: skip
            records.append({"file_name": name, **(full if n % 2 == 0 else {"syms": [], "boxes": [], "polygons": []})})
        (tmp_path / f"ChestX_Det_{split}.json").write_text(json.dumps(records))
    return tmp_path


def test_value_chestx_det_boxes_labels_and_an_outline(chestx_det: Path) -> None:
    data = ChestXDetDataModule(str(chestx_det), outline="Mass", **SMALL)
    data.setup()
    assert data.index is not None and data.spec.counts == {"train": 9, "val": 1, "test": 2}
    row = data.index.set_index("id").loc["36199.png"]
    assert row["boxes"] == [[10, 20, 30, 40], [1, 1, 9, 9]]
    assert row["box_labels"] == [CLASSES.index("Mass"), CLASSES.index("Effusion")] and row["Mass"] == 1
    every = [data.samples(split)[i] for split in ("train", "val") for i in range(data.spec.counts[split])]
    sample = next(sample for sample in every if sample["id"] == "36199.png")
    assert data.spec.mask_class == "Mass" and 0 < int(sample["mask"].sum()) < 16 * 16
    with pytest.raises(UserError, match=r"found data\.outline 'Masses', expected one of"):
        ChestXDetDataModule(str(chestx_det), outline="Masses")


@pytest.mark.parametrize(
    "spoil",
    [
        {"syms": ["Mass"]},
        {"syms": ["Mass", "Efusion"]},
        {"boxes": [[30, 20, 10, 40], [1, 1, 9, 9]]},
        {"polygons": None},
    ],
    ids=["fewer names", "unknown class", "turned box", "no outline"],
)
def test_value_check_of_chestx_det_names_each_trap(chestx_det: Path, spoil: dict[str, Any]) -> None:
    path = chestx_det / "ChestX_Det_train.json"
    records = json.loads(path.read_text())
    records[0] |= spoil
    path.write_text(json.dumps(records))
    found = check("chestx_det", chestx_det, ChestXDetDataModule(str(chestx_det), **SMALL)).as_text()
    assert "1 samples left out: entry that is no image with boxes" in found
    records[2] |= spoil
    path.write_text(json.dumps(records))
    with pytest.raises(UserError, match=r"entry 1 \(.*\(2 of 10 such records\)"):
        ChestXDetDataModule(str(chestx_det), **SMALL).setup()


@pytest.fixture
def padchest_gr(tmp_path: Path) -> Path:
    studies, table = [], ["StudyID,PatientID,label,split"]
    for n in range(6):
        picture(tmp_path / "PadChest_GR" / f"i{n}.png", n)
        box = {"sentence_en": f"Mass {n}.", "sentence_es": f"Masa {n}.", "abnormal": True, "labels": ["mass"]}
        box["boxes"] = [[0.1, 0.2, 0.5, 0.9]]
        normal = {"sentence_en": "Clear lungs.", "sentence_es": "Sin hallazgos.", "abnormal": False}
        studies.append({"StudyID": f"s{n}", "ImageID": f"i{n}.png", "findings": [box, normal]})
        table += [f"s{n},p{n},mass,{['train', 'validation', 'test'][n % 3]}"] * 2
    (tmp_path / "grounded_reports_20240819.json").write_text(json.dumps(studies))
    (tmp_path / "master_table.csv").write_text("\n".join(table))
    return tmp_path


def test_value_padchest_gr(padchest_gr: Path) -> None:
    data = PadChestGRDataModule(str(padchest_gr), language="es", **SMALL)
    data.setup()
    assert data.index is not None and data.spec.counts == {"train": 2, "val": 2, "test": 2}
    assert data.spec.dropped == {"sentence without a box": 6} and data.spec.box_classes == ["mass"]
    assert data.index["text"].str.startswith("Masa").all() and data.index["patient"].str.startswith("p").all()
    sample = data.samples("test")[0]
    height = width = 16
    x1, y1, x2, y2 = sample["boxes"][0].tolist()
    assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height


@pytest.mark.parametrize("box", [[0.5, 0.2, 0.1, 0.9], [0.1, 0.2, 0.5, 1.3], [0.1, 0.2, 0.5], [10, 20, 50, 90]])
def test_value_check_of_padchest_gr_names_each_trap(padchest_gr: Path, box: list[float]) -> None:
    path = padchest_gr / "grounded_reports_20240819.json"
    studies = json.loads(path.read_text())
    studies[0]["findings"][0]["boxes"] = [box]
    path.write_text(json.dumps(studies))
    found = check("padchest_gr", padchest_gr, PadChestGRDataModule(str(padchest_gr), **SMALL)).as_text()
    assert "1 samples left out: box outside its image" in found
    table = (padchest_gr / "master_table.csv").read_text()
    (padchest_gr / "master_table.csv").write_text(table.replace("s1,", "x1,"))
    found = check("padchest_gr", padchest_gr, PadChestGRDataModule(str(padchest_gr), **SMALL)).as_text()
    assert "1 samples left out: study not in master_table" in found
