"""RSNA Pneumonia, SIIM pneumothorax, MS-CXR and annotated folders in their true layouts: masks and boxes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
import pytest
import torch
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian

from data_modules.annotated import AnnotatedDataModule
from data_modules.base import DataModule
from data_modules.checks import check
from data_modules.errors import UserError
from data_modules.images.run_lengths import encode_runs
from data_modules.images.transforms import Augment
from data_modules.index.listed_splits import list_files, listed_splits
from data_modules.index.partners import partners
from data_modules.loading.loader import collate
from data_modules.ms_cxr import MSCXRDataModule
from data_modules.prepare import prepare
from data_modules.rsna_pneumonia import RSNAPneumoniaDataModule
from data_modules.siim_pneumothorax import SIIMPneumothoraxDataModule

STRETCH = Augment(fit="stretch")


def dicom(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = pydicom.Dataset()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.SOPClassUID, header.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    header.Rows, header.Columns, header.SamplesPerPixel = *pixels.shape, 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 8, 8, 7, 0
    header.PixelData = pixels.tobytes()
    header.save_as(path, enforce_file_format=True)


def near(found: torch.Tensor, expected: list[list[float]]) -> bool:
    return torch.allclose(found, torch.tensor(expected, dtype=found.dtype), atol=1e-3)


def sample(data: DataModule, name: str) -> dict[str, Any]:
    data.setup()
    assert data.index is not None
    split = data.index.set_index("id").loc[name, "split"]
    samples = data.samples(str(split))
    return samples[samples.table.column("id").to_pylist().index(name)]


def lists(root: Path, **splits: list[str]) -> str:
    folder = root / "lists"
    folder.mkdir()
    for split in ("train", "val", "test"):  # with a folder, an ending and a label behind, as MRM's
        lines = [f"images/{name}.dcm 0 " for name in splits.get(split, [])]
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return str(folder)


@pytest.fixture
def rsna(tmp_path: Path) -> Path:
    """``a`` and ``d`` have two and one box, ``b`` and ``c`` none."""
    for name in "abcd":
        dicom(tmp_path / "stage_2_train_images" / f"{name}.dcm", np.full((40, 20), 90, np.uint8))
    rows = ["patientId,x,y,width,height,Target", "a,2.0,4.0,10.0,8.0,1", "b,,,,,0", "a,0.0,30.0,5.0,10.0,1", "c,,,,,0"]
    (tmp_path / "stage_2_train_labels.csv").write_text("\n".join([*rows, "d,1,1,2,2,1"]) + "\n")
    return tmp_path


def test_value_rsna_groups_boxes_by_image(rsna: Path) -> None:
    named = lists(rsna, train=["a", "b"], val=["c"], test=["d"])
    data = RSNAPneumoniaDataModule(str(rsna), lists=named, image_size=20, augment=STRETCH)
    one = sample(data, "a")
    assert data.spec.counts == {"train": 2, "val": 1, "test": 1}
    assert data.spec.box_classes == ["Pneumonia"] and data.spec.fit == "stretch"
    # 40 rows on 20: the heights are halved, the widths stay
    assert near(one["boxes"], [[2, 2, 12, 6], [0, 15, 5, 20]]) and one["box_labels"].tolist() == [0, 0]
    assert one["size"].tolist() == [40, 20] and one["labels"].tolist() == [1]
    none = sample(data, "b")
    assert none["boxes"].shape == (0, 4) and none["box_labels"].shape == (0,) and none["labels"].tolist() == [0]
    batch = collate([one, none])
    assert batch["image"].shape == (2, 1, 20, 20) and [len(boxes) for boxes in batch["boxes"]] == [2, 0]


def test_value_rsna_positives_and_shares(rsna: Path) -> None:
    named = lists(rsna, train=["a", "b"], val=["c"], test=["d"])
    data = RSNAPneumoniaDataModule(str(rsna), lists=named, positives=True)
    data.setup()
    assert data.index is not None and sorted(data.index["id"]) == ["a", "c", "d"]
    assert data.dropped == {"training image without a box": 1}
    table = rsna / "stage_2_train_labels.csv"
    table.write_text(table.read_text() + "".join(f"x{n},,,,,0\n" for n in range(400)))
    for split, test in (("60/20/20", 0.2), ("70/15/15", 0.15)):
        share = (RSNAPneumoniaDataModule(str(rsna), split=split).read_index()["split"] == "test").mean()
        assert abs(share - test) < 0.06


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ("e,1,2,,4,1", "found e, 1, 2, , 4, 1 in row 7, expected patientId, four numbers"),
        ("e,,,,,2", "in row 7, expected patientId"),
    ],
)
def test_error_rsna_table(rsna: Path, row: str, line: str) -> None:
    table = rsna / "stage_2_train_labels.csv"
    table.write_text(table.read_text() + row + "\n")
    data = RSNAPneumoniaDataModule(str(rsna))
    assert set(data.read_index()["id"]) == set("abcd") and data.dropped == {"odd row": 1}  # one refuses nothing
    table.write_text(table.read_text() + row + "\n")
    with pytest.raises(UserError, match=line):
        RSNAPneumoniaDataModule(str(rsna)).setup()


def test_error_box_outside_its_image(rsna: Path) -> None:
    table = rsna / "stage_2_train_labels.csv"
    table.write_text(table.read_text().replace("d,1,1,2,2,1", "d,1,1,2,90,1"))
    named = lists(rsna, train=["a", "b"], val=["c"], test=["d"])
    with pytest.raises(UserError, match=r"d.dcm: found box \[1.0, 1.0, 3.0, 91.0\] in an image of 20 x 40 pixels"):
        sample(RSNAPneumoniaDataModule(str(rsna), lists=named), "d")


@pytest.fixture
def siim(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """``a`` has a mask of two rows, ``b`` to ``e`` none; header and values begin with a space."""
    mask = np.zeros((30, 20), bool)
    mask[5:10, 3:6], mask[20:25, 10:20] = True, True
    upper = np.arange(30)[:, None] < 15
    for name in "abcde":
        dicom(tmp_path / "dicom-images-train" / f"s{name}" / "1" / f"{name}.dcm", np.full((30, 20), 90, np.uint8))
    rows = [f"a, {encode_runs(mask & upper)}", "b, -1", f"a, {encode_runs(mask & ~upper)}", "c,-1", "d, -1", "e, -1"]
    (tmp_path / "train-rle.csv").write_text("\n".join(["ImageId, EncodedPixels", *rows]) + "\n")
    return tmp_path, mask


def test_value_siim_joins_the_rows_of_an_image(siim: tuple[Path, np.ndarray]) -> None:
    root, mask = siim
    named = lists(root, train=["a", "b", "c"], val=["d"], test=["e"])
    data = SIIMPneumothoraxDataModule(str(root), lists=named, balanced=False, image_size=60, augment=STRETCH)
    one = sample(data, "a")
    assert one["mask"].dtype.is_floating_point is False and one["mask"].shape == (1, 60, 60)
    assert (one["mask"][0].numpy() == np.repeat(np.repeat(mask, 2, 0), 3, 1)).all()
    assert sample(data, "b")["mask"].sum() == 0 and one["labels"].tolist() == [1]
    assert data.spec.mask_class == "Pneumothorax" and data.spec.counts["train"] == 3


def test_value_siim_balances_training_only(siim: tuple[Path, np.ndarray]) -> None:
    named = lists(siim[0], train=["a", "b", "c"], val=["d"], test=["e"])
    data = SIIMPneumothoraxDataModule(str(siim[0]), lists=named)
    assert len(data.read_index()) == 5  # what a split is drawn from
    data.setup()
    assert data.spec.counts == {"train": 2, "val": 1, "test": 1}
    assert data.dropped == {"surplus negative training image": 1}


def test_value_a_siim_store_keeps_every_row(siim: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    """A split is drawn from everything, also from a store; what training leaves out is left out on reading."""
    named = lists(siim[0], train=["a", "b", "c"], val=["d"], test=["e"])
    prepare(SIIMPneumothoraxDataModule(str(siim[0]), lists=named), tmp_path / "store", workers=1)
    stored = SIIMPneumothoraxDataModule(str(tmp_path / "store"), lists=named)
    assert len(stored.rows()) == 5
    stored = SIIMPneumothoraxDataModule(str(tmp_path / "store"), lists=named)
    stored.setup()
    files = SIIMPneumothoraxDataModule(str(siim[0]), lists=named)
    files.setup()
    assert stored.spec == files.spec and stored.dropped == {"surplus negative training image": 1}
    data = SIIMPneumothoraxDataModule(str(tmp_path / "store"), lists=named)
    result = check("siim_pneumothorax", tmp_path / "store", data)
    assert {f.kind for f in result.findings if f.severity == "error"} == {"image in two splits (byte-identical)"}


def test_error_lists_of_another_release(siim: tuple[Path, np.ndarray]) -> None:
    named = lists(siim[0], train=["a", "b", "1.2.276.0.7230010"], val=["c"], test=["e", "1.2.276.0.7230011"])
    with pytest.raises(UserError, match=r"2 of 6 listed samples are not in the data \(first: 1.2.276.0.7230010\)"):
        SIIMPneumothoraxDataModule(str(siim[0]), lists=named).setup()


def test_value_dots_of_an_id_are_no_ending(tmp_path: Path) -> None:
    """MRM's lists of SIIM name bare ids, those of RSNA a path and a label, those of NIH a file name."""
    lines = {"train": "1.2.276.30\n", "val": "stage_2_train_images/1.2.276.31.dcm 0 \n", "test": "a.png 0 1\n"}
    for split, text in lines.items():
        (tmp_path / f"{split}_list.txt").write_text(text)
    ids = pd.Series(["1.2.276.30", "1.2.276.31", "a.png", "1.2.276.32"])
    assert listed_splits(ids, list_files(tmp_path)).tolist()[:3] == ["train", "val", "test"]
    assert listed_splits(ids, list_files(tmp_path)).isna().tolist() == [False, False, False, True]


def test_value_lists_and_excluded_patients(siim: tuple[Path, np.ndarray]) -> None:
    named = lists(siim[0], train=["a", "b"], val=["c"], test=["d", "e"])
    (siim[0] / "leaking.json").write_text('["e"]')
    data = SIIMPneumothoraxDataModule(str(siim[0]), lists=named, exclude=[str(siim[0] / "leaking.json")])
    data.setup()
    assert data.spec.counts == {"train": 2, "val": 1, "test": 1}
    assert data.dropped == {"excluded patient": 1}


def test_value_siim_stage_2_file(siim: tuple[Path, np.ndarray]) -> None:
    table = siim[0] / "train-rle.csv"
    table.rename(siim[0] / "stage_2_train.csv")
    data = SIIMPneumothoraxDataModule(str(siim[0]), balanced=False)
    assert data.read_index()["Pneumothorax"].tolist() == [1, 0, 0, 0, 0]


def test_error_run_lengths_of_another_image(siim: tuple[Path, np.ndarray]) -> None:
    table = siim[0] / "train-rle.csv"
    table.write_text(table.read_text().replace("c,-1", "c,590 20"))
    named = lists(siim[0], train=["a", "b"], val=["c"], test=["d"])
    data = SIIMPneumothoraxDataModule(str(siim[0]), lists=named)
    with pytest.raises(UserError, match=r"c.dcm: found a run that ends at pixel 610, expected at most 600"):
        sample(data, "c")


@pytest.fixture
def ms_cxr(tmp_path: Path) -> Path:
    """Two phrases on one image, the first with two boxes; boxes count in pixels of an image twice as large."""
    path = "files/p10/p10000032/s50414267/aa-bb.jpg"
    (tmp_path / "jpg" / path).parent.mkdir(parents=True)
    Image.fromarray(np.full((40, 30), 90, np.uint8)).save(tmp_path / "jpg" / path)
    boxes = [([4, 6, 10, 20], 1, "left effusion"), ([40, 50, 20, 30], 1, "left effusion"), ([0, 0, 60, 80], 2, "edema")]
    content = {
        "images": [{"id": 7, "file_name": "aa-bb.jpg", "width": 60, "height": 80, "path": path}],
        "categories": [{"id": 1, "name": "Pleural Effusion"}, {"id": 2, "name": "Edema"}],
        "annotations": [
            {"id": i, "image_id": 7, "category_id": category, "bbox": box, "label_text": phrase}
            for i, (box, category, phrase) in enumerate(boxes)
        ],
    }
    (tmp_path / "MS_CXR_Local_Alignment_v1.0.0.json").write_text(json.dumps(content))
    return tmp_path


def test_value_ms_cxr_groups_boxes_by_phrase(ms_cxr: Path) -> None:
    (ms_cxr / "jpg" / "mimic-cxr-2.0.0-split.csv").write_text(
        "dicom_id,study_id,subject_id,split\naa-bb,50414267,10000032,train\n"
    )
    data = MSCXRDataModule(str(ms_cxr), str(ms_cxr / "jpg"), image_size=40, augment=Augment(fit="letterbox"))
    one = sample(data, "aa-bb/Pleural Effusion/left effusion")
    assert data.spec.counts["test"] == 2
    assert data.spec.notes == ["2 of 2 phrases are of patients in MIMIC-CXR's training split"]
    assert one["text"] == "left effusion" and one["patient"] == "10000032"
    # halved, then 5 black columns on the left
    assert near(one["boxes"], [[7, 3, 12, 13], [25, 25, 35, 40]]) and one["box_labels"].tolist() == [0, 0]
    assert sample(data, "aa-bb/Edema/edema")["box_labels"].tolist() == [1]


@pytest.mark.parametrize(("name", "split"), [("train", "train"), ("validate", "val"), ("test", "test")])
def test_value_ms_cxr_with_the_split_of_mimic_cxr(ms_cxr: Path, name: str, split: str) -> None:
    table = ms_cxr / "jpg" / "mimic-cxr-2.0.0-split.csv"
    table.write_text(f"dicom_id,study_id,subject_id,split\naa-bb,50414267,10000032,{name}\n")
    data = MSCXRDataModule(str(ms_cxr), str(ms_cxr / "jpg"), split="mimic_cxr", image_size=40)
    data.setup()
    assert data.spec.counts == {"train": 0, "val": 0, "test": 0} | {split: 2} and not data.spec.notes
    assert sorted(map(len, data.split_rows(split)["boxes"])) == [1, 2]


def test_error_and_drop_ms_cxr_without_the_split_of_mimic_cxr(ms_cxr: Path) -> None:
    with pytest.raises(UserError, match=r"mimic-cxr-2\.0\.0-split"):
        MSCXRDataModule(str(ms_cxr), str(ms_cxr / "jpg"), split="mimic_cxr").setup()
    table = ms_cxr / "jpg" / "mimic-cxr-2.0.0-split.csv"
    table.write_text("dicom_id,study_id,subject_id,split\ncc-dd,1,2,test\n")
    with pytest.raises(UserError):
        MSCXRDataModule(str(ms_cxr), str(ms_cxr / "jpg"), split="mimic_cxr").setup()


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (
            lambda c: c["annotations"][0].update(bbox=[0, 0, 90, 9]),
            r"found box \[0.0, 0.0, 90.0, 9.0\] in a frame of 60",
        ),
        (lambda c: c["annotations"][0].update(category_id=9), "names image 7 and category 9"),
        (lambda c: [entry.pop("label_text") for entry in c["annotations"][:2]], "image 7 has no label_text.*2 of 3"),
        (lambda c: c["images"][0].update(path="aa-bb.jpg"), "found path 'aa-bb.jpg', expected files/p10"),
        (lambda c: c.pop("categories"), "found no COCO annotations"),
    ],
)
def test_error_ms_cxr(ms_cxr: Path, spoil: Callable[[dict[str, Any]], object], line: str) -> None:
    path = next(ms_cxr.glob("*.json"))
    content = json.loads(path.read_text())
    spoil(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=line):
        MSCXRDataModule(str(ms_cxr), str(ms_cxr / "jpg")).setup()


@pytest.fixture
def annotated(tmp_path: Path) -> Path:
    """``a`` to ``d``; ``a`` to ``c`` have a mask; the box file lists ``a`` (two boxes) and ``b`` (none)."""
    for name in "abcd":
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir(exist_ok=True)
        Image.fromarray(np.full((20, 20), 90, np.uint8)).save(tmp_path / "images" / f"{name}.jpg")
        if name != "d":
            mask = np.zeros((20, 20), np.uint8)
            mask[:10] = 255
            Image.fromarray(mask).save(tmp_path / "masks" / f"{name}.png")
    content = {
        "images": [{"id": i, "file_name": f"{name}.jpg", "width": 40, "height": 40} for i, name in enumerate("ab")],
        "categories": [{"id": 2, "name": "left lung"}, {"id": 1, "name": "right lung"}],
        "annotations": [{"id": i, "image_id": 0, "category_id": 2 - i, "bbox": [i * 20, 0, 20, 40]} for i in range(2)],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    (tmp_path / "table.csv").write_text(
        "image,split,patient\n" + "".join(f"images/{n}.jpg,{'test' if n == 'a' else 'train'},{n}\n" for n in "abcd")
    )
    return tmp_path


def test_value_annotated_masks_and_boxes(annotated: Path) -> None:
    data = AnnotatedDataModule(str(annotated), masks="masks", boxes="boxes.json", table="table.csv", image_size=20)
    one = sample(data, "images/a.jpg")
    assert data.spec.box_classes == ["right lung", "left lung"]
    assert data.dropped == {"no mask": 1, "not in the box file": 1} and data.spec.counts["train"] == 1
    assert one["mask"][0, :, 0].tolist() == [1] * 10 + [0] * 10
    assert near(one["boxes"], [[0, 0, 10, 20], [10, 0, 20, 20]]) and one["box_labels"].tolist() == [1, 0]
    assert sample(data, "images/b.jpg")["boxes"].shape == (0, 4)
    options = data.index_options()
    assert options["masks"] == "masks" and json.dumps(options)


def test_value_and_error_annotated_texts(annotated: Path) -> None:
    table = annotated / "table.csv"
    said = {"a": "Both lungs.", "b": "  ", "c": "Upper half.", "d": "No mask."}
    table.write_text(
        "image,split,phrase\n" + "".join(f"images/{n}.jpg,{'test' if n == 'a' else 'train'},{said[n]}\n" for n in said)
    )
    options: dict[str, Any] = {"masks": "masks", "table": "table.csv", "image_size": 16, "num_workers": 0}
    data = AnnotatedDataModule(str(annotated), text_column="phrase", **options)
    data.setup()
    assert data.spec.dropped == {"no text": 1, "no mask": 1} and sample(data, "images/a.jpg")["text"] == "Both lungs."
    plain = AnnotatedDataModule(str(annotated), **options)
    plain.setup()
    assert plain.index is not None and "text" not in plain.index and len(plain.index) == 3
    with pytest.raises(UserError, match="text_2"):
        AnnotatedDataModule(str(annotated), text_column="text_2", **options).setup()
    with pytest.raises(UserError, match=r"found data\.text_column phrase without data.table"):
        AnnotatedDataModule(str(annotated), masks="masks", text_column="phrase")


def test_error_annotated(annotated: Path) -> None:
    with pytest.raises(UserError, match=r"found neither data\.masks nor data\.boxes"):
        AnnotatedDataModule(str(annotated))
    Image.fromarray(np.zeros((20, 21), np.uint8)).save(annotated / "masks" / "a.png")
    with pytest.raises(UserError, match=r"a.png: found a mask of 21 x 20 pixels, expected 20 x 20 as in .*a.jpg"):
        sample(AnnotatedDataModule(str(annotated), masks="masks", table="table.csv"), "images/a.jpg")
    with pytest.raises(UserError, match="COCO file not found"):
        AnnotatedDataModule(str(annotated), boxes="none.json").setup()
    with pytest.raises(UserError, match=r"found no usable sample \(no mask 4\)"):
        (annotated / "empty").mkdir()
        Image.fromarray(np.zeros((20, 20), np.uint8)).save(annotated / "empty" / "z.png")
        AnnotatedDataModule(str(annotated), masks="empty").setup()


def test_value_partners() -> None:
    assert partners(["a/x.png", "b/x.png", "c/y.png"], ["b/x.tif", "a/x.tif", "y.tif"], "masks") == [1, 0, 2]
    assert partners(["a/x.png", "b/x.png", "z.png"], ["a/x.png"], "masks") == [0, None, None]


@pytest.mark.parametrize(
    ("images", "files", "line"),
    [
        (["a/x.png", "b/x.png"], ["x.png"], r"found images a/x.png and b/x.png: .* is of image a/x.png"),
        (["x.png"], ["a/x.png", "b/x.png"], r"found masks a/x.png and b/x.png: .* is of image x.png"),
        (["x.png"], ["x.tif", "x.png"], r"found masks x.tif and x.png, expected one"),
    ],
)
def test_error_partners(images: list[str], files: list[str], line: str) -> None:
    with pytest.raises(UserError, match=line):
        partners(images, files, "masks")


@pytest.mark.parametrize("table", [None, "table.csv"])
def test_value_annotated_names_repeat_in_folders(tmp_path: Path, table: str | None) -> None:
    """``one/x`` and ``two/x``: each has its own mask and its own box."""
    images, boxes = [], []
    for number, folder in enumerate(("one", "two")):
        for kind, value in (("images", 90), ("masks", 255 * number)):
            (tmp_path / kind / folder).mkdir(parents=True)
            Image.fromarray(np.full((20, 20), value, np.uint8)).save(tmp_path / kind / folder / "x.png")
        images.append({"id": number, "file_name": f"{folder}/x.png", "width": 20, "height": 20})
        boxes.append({"id": number, "image_id": number, "category_id": 1, "bbox": [number, 0, 5, 5]})
    content = {"images": images, "categories": [{"id": 1, "name": "lung"}], "annotations": boxes}
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    (tmp_path / "table.csv").write_text("image,split\nimages/one/x.png,train\nimages/two/x.png,train\n")
    data = AnnotatedDataModule(str(tmp_path), masks="masks", boxes="boxes.json", table=table)
    rows = data.read_index().sort_values("image")
    assert [Path(mask).parent.name for mask in rows["mask"]] == ["one", "two"]
    assert [own[0][0] for own in rows["boxes"]] == [0, 1] and rows["box_frame"].tolist() == [[20, 20]] * 2


def test_value_sample_lungs(sample_data: Path) -> None:
    """Masks and lung boxes of real images: the documented counts, by the documented splits."""
    root = sample_data / "covid_cxr"
    masks = AnnotatedDataModule(str(root), masks="masks", mask_class="Lung", table="metadata.csv", image_size=64)
    masks.setup()
    assert masks.index is not None and len(masks.index) == 123
    assert 0.05 < sample(masks, masks.index["id"][0])["mask"].float().mean() < 0.8
    boxes = AnnotatedDataModule(str(root), boxes="lung_boxes_coco.json", table="metadata.csv", image_size=64)
    boxes.setup()
    assert boxes.index is not None and len(boxes.index) == 55 and sum(map(len, boxes.index["boxes"])) == 110
    assert sorted(name.lower() for name in boxes.box_classes) == ["left lung", "right lung"]


def test_value_annotated_tables_name_their_columns_as_pairs_do(annotated: Path) -> None:
    """Columns of other names give the index that the usual ones give."""
    table = annotated / "table.csv"
    usual = table.read_text()
    options: dict[str, Any] = {"masks": "masks", "table": "table.csv", "image_size": 20}
    table.write_text(usual.replace("image,split,patient", "film,part,who") + "images/d.jpg,train,d\n")
    names: dict[str, Any] = {"image_column": "film", "split_column": "part", "patient_column": "who"}
    other = AnnotatedDataModule(str(annotated), **names, **options)
    other.setup()
    table.write_text(usual)
    data = AnnotatedDataModule(str(annotated), **options)
    data.setup()
    assert other.index is not None and data.index is not None and other.index.equals(data.index)
    with pytest.raises(UserError, match=r"found data\.patient_column who without data.table"):
        AnnotatedDataModule(str(annotated), masks="masks", patient_column="who")
    table.write_text(usual.replace("image,", "film,"))
    with pytest.raises(UserError, match=r"found columns film, .* name it with data\.image_column"):
        AnnotatedDataModule(str(annotated), **options).setup()
