"""MIMIC-CXR in its true layout: what is read, what is dropped and counted, and every error a download can cause."""

from __future__ import annotations

import gzip
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_modules.contract import DataRequest, DataSpec
from data_modules.errors import UserError
from data_modules.index.labels import CHEXPERT
from data_modules.mimic_cxr import MIMICCXRDataModule
from data_modules.text.tokenizer import TextOptions

if TYPE_CHECKING:
    from tests.data_modules.conftest import Tree

TEXT = TextOptions(max_tokens=48, vocab_size=400, min_count=1)


def make(tree: Tree, **options: Any) -> MIMICCXRDataModule:
    settings: dict[str, Any] = {"image_size": 32, "batch_size": 4, "num_workers": 0, "text": TEXT, **options}
    settings.setdefault("image_root", str(tree.image_root))
    settings.setdefault("report_root", str(tree.report_root))
    data = MIMICCXRDataModule(**settings)
    data.setup()
    return data


def index_of(data: MIMICCXRDataModule) -> pd.DataFrame:
    assert data.index is not None
    return data.index


def spec_of(data: MIMICCXRDataModule) -> DataSpec:
    return data.spec


def test_smoke(mimic: Tree) -> None:
    data = make(mimic)
    assert spec_of(data).counts == {"train": 8, "val": 2, "test": 2}
    assert spec_of(data).dropped == {"view": 12} and "view 12" in data.summary()


def test_shape(mimic: Tree) -> None:
    batch = next(iter(make(mimic, channels=3).train_dataloader()))
    assert batch["image"].shape == (4, 3, 32, 32) and str(batch["image"].dtype) == "torch.uint8"
    longest = max(int(row.sum()) for row in batch["attention_mask"])
    length = batch["input_ids"].shape[1]
    assert length % 8 == 0 and length - 8 < longest <= length <= 48
    for key in ("input_ids", "attention_mask", "word_ids"):
        assert batch[key].shape == (4, length) and str(batch[key].dtype) == "torch.int64"
    assert batch["labels"].shape == (4, 14) and str(batch["labels"].dtype) == "torch.float32"
    assert batch["group"].shape == batch["seed"].shape == (4,)
    assert all(isinstance(value, str) for key in ("id", "patient", "text") for value in batch[key])


def test_value_text_and_blank_view(mimic: Tree) -> None:
    index = index_of(make(mimic)).set_index("patient")
    third = index.loc[mimic.studies[2].subject]
    assert third["text"].startswith(
        "The heart is normal in size, case 2. No effusion or pneumothorax is seen. No acute"
    )
    assert third["image"].endswith("-pa.jpg")
    assert make(mimic, sections="impression").index["text"].iloc[0].startswith("No acute process")


def test_value_views_and_sampling(mimic: Tree) -> None:
    everything = make(mimic, views=[], study_sampling="all")
    assert spec_of(everything).counts["train"] == 16 and len(everything._datasets["train"]) == 16
    one = make(mimic, views=[], study_sampling="one")
    train = one._datasets["train"]
    assert len(train) == 8 and len(one._datasets["val"]) == 4
    seen = {epoch: [train[epoch, i]["id"] for i in range(8)] for epoch in range(6)}
    assert seen[0] == [train[0, i]["id"] for i in range(8)]
    assert len({tuple(ids) for ids in seen.values()}) > 1
    assert {name for ids in seen.values() for name in ids} == set(index_of(one).query("split == 'train'")["id"])
    assert all(len({name[:8] for name in ids}) == 8 for ids in seen.values())


@pytest.mark.parametrize(
    ("options", "uncertain", "blank"),
    [
        ({}, np.nan, 0.0),
        ({"uncertain": "zeros", "blank": "ignore"}, 0.0, np.nan),
        ({"uncertain": "ones", "blank": "zeros"}, 1.0, 0.0),
    ],
)
def test_value_label_policies(mimic: Tree, options: dict[str, Any], uncertain: float, blank: float) -> None:
    labels = ["Edema", "Airspace Opacity", "Atelectasis", "Fracture"]
    rows = index_of(make(mimic, labels=labels, **options)).set_index("patient")[labels]
    np.testing.assert_array_equal(rows.loc[mimic.studies[0].subject], [0, uncertain, 1, blank])
    assert rows.loc[mimic.studies[1].subject].isna().all()


def test_value_columns_are_found_by_name(mimic: Tree) -> None:
    expected = index_of(make(mimic))
    table = pd.read_csv(mimic.table("chexpert"), dtype=str)
    mimic.table("chexpert").unlink()
    spaced = table[table.columns[::-1]].rename(columns=lambda name: f" {name} ")
    spaced.to_csv(mimic.image_root / "mimic-cxr-2.0.0-chexpert.csv", index=False, encoding="utf-8-sig")
    pd.testing.assert_frame_equal(index_of(make(mimic)), expected)


def test_value_either_root_may_be_missing(mimic: Tree) -> None:
    images = next(iter(make(mimic, report_root=None).train_dataloader()))
    assert "image" in images and not {"text", "input_ids"} & set(images)
    for name in ("split", "chexpert"):
        shutil.copy(mimic.table(name), mimic.report_root)
    data = make(mimic, image_root=None)
    texts = next(iter(data.train_dataloader()))
    assert "image" not in texts and len(texts["text"]) == 4 and spec_of(data).counts["train"] == 8


def test_value_reports_alone_are_split_by_patient(mimic: Tree) -> None:
    lines = [f"{s.subject},{s.study},files/x.txt" for s in mimic.studies]
    (mimic.report_root / "cxr-study-list.csv").write_text("\n".join(["subject_id,study_id,path", *lines]))
    data = make(mimic, image_root=None, labels=[], batch_size=1)
    assert sum(spec_of(data).counts.values()) == 12
    assert index_of(data)["split"].tolist() == index_of(make(mimic, image_root=None, labels=[]))["split"].tolist()


def test_value_one_root_of_images_in_files_and_of_packed_reports(mimic: Tree, tmp_path: Path) -> None:
    root = tmp_path / "one"
    mimic.image_root.rename(root)
    with zipfile.ZipFile(root / "mimic-cxr-reports.zip", "w") as archive:
        for study in mimic.studies:
            archive.write(study.report, study.report.relative_to(mimic.report_root))
    data = MIMICCXRDataModule.from_root(root)
    frame = data.read_index()
    assert len(frame) == 12 and frame["text"].str.contains("No acute process").all()
    (root / mimic.studies[0].report.relative_to(mimic.report_root)).write_text(mimic.studies[0].report.read_text())
    assert len(MIMICCXRDataModule.from_root(root).read_index()) == 1, "unpacked reports come before the archive"


def test_value_zip(mimic: Tree) -> None:
    expected = index_of(make(mimic))
    with zipfile.ZipFile(mimic.report_root / "mimic-cxr-reports.zip", "w") as archive:
        for study in mimic.studies:
            archive.write(study.report, study.report.relative_to(mimic.report_root))
        archive.writestr("../../escape.txt", "x")
    shutil.rmtree(mimic.report_root / "files")
    pd.testing.assert_frame_equal(index_of(make(mimic)), expected)
    (mimic.report_root / "mimic-cxr-reports.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"mimic-cxr-reports\.zip: broken zip"):
        make(mimic)


def test_value_shrunken_png(mimic: Tree) -> None:
    for study in mimic.studies:
        for path in study.images:
            Image.open(path).save(path.with_suffix(".png"))
            path.unlink()
    assert index_of(make(mimic))["image"].str.endswith("-pa.png").all()


def test_value_jpg_beside_png_and_a_release_folder(mimic: Tree, tmp_path: Path) -> None:
    """PhysioNet's downloads end in a folder of the release."""
    for study in mimic.studies[3:]:
        image = study.images[0]
        Image.open(image).save(image.with_suffix(".png"))
        image.unlink()
    expected = index_of(make(mimic)).set_index("id")
    assert expected["image"].str.endswith(".png").sum() == 9 and expected["image"].str.endswith(".jpg").sum() == 3
    (tmp_path / "release").mkdir()
    mimic.image_root.rename(tmp_path / "release" / "2.1.0")
    nested = index_of(make(mimic, image_root=str(tmp_path / "release"))).set_index("id")
    assert (
        nested["image"]
        .map(Path)
        .map(lambda path: path.name)
        .equals(expected["image"].map(Path).map(lambda path: path.name))
    )
    (tmp_path / "release" / "2.0.0").mkdir()
    with pytest.raises(UserError, match=r"release: found releases 2\.0\.0, 2\.1\.0, expected one"):
        make(mimic, image_root=str(tmp_path / "release"))


def test_value_pinned_reports_without_a_split_table(mimic: Tree, tmp_path: Path) -> None:
    """The split is drawn from every study; the pinned ones are then the test split."""
    lines = [f"{s.subject},{s.study},files/x.txt" for s in mimic.studies]
    (mimic.report_root / "cxr-study-list.csv").write_text("\n".join(["subject_id,study_id,path", *lines]))
    (tmp_path / "pinned.txt").write_text(f"s{mimic.studies[0].study}\n")
    drawn = index_of(make(mimic, image_root=None, labels=[], batch_size=1)).set_index("id")["split"]
    data = make(mimic, image_root=None, labels=[], batch_size=1, pinned=str(tmp_path / "pinned.txt"))
    splits = index_of(data).set_index("id")["split"]
    assert splits[splits == "test"].index.tolist() == [f"s{mimic.studies[0].study}"]
    rest = splits.drop(f"s{mimic.studies[0].study}")
    assert rest.equals(drawn.loc[rest.index]) and (drawn.drop(rest.index) != "val").any()


def test_value_unusable_reports_are_counted(mimic: Tree) -> None:
    mimic.studies[0].report.write_text(" \n")
    mimic.studies[1].report.write_text("  FINAL REPORT\n EXAM: CHEST.\n")
    mimic.studies[2].report.write_text("x\n IMPRESSION: Normal.\n")
    mimic.studies[3].report.unlink()
    data = make(mimic)
    assert spec_of(data).dropped == {
        "view": 12,
        "report empty": 1,
        "report without findings or impression": 1,
        "report under 3 words": 1,
        "report missing": 1,
    }
    assert spec_of(data).counts["train"] == 4 and "report empty 1" in data.summary()


def test_error_nothing_left(mimic: Tree) -> None:
    for study in mimic.studies:
        study.report.write_text("")
    with pytest.raises(UserError, match=r"no usable sample \(report empty 12, view 12\)"):
        make(mimic)


def test_error_not_utf8(mimic: Tree) -> None:
    mimic.studies[4].report.write_bytes(b"x\n IMPRESSION: 38\xb0C, no change.\n")
    name = mimic.studies[4].report.name
    data = make(mimic)
    assert spec_of(data).dropped == {"view": 12, "report that cannot be read": 1}
    assert spec_of(data).counts["train"] == 7
    mimic.studies[5].report.write_bytes(b"x\n IMPRESSION: \xff\n")
    with pytest.raises(UserError, match=rf"{name}: found byte 0xb0 at position 17, expected utf-8; .*data\.encoding"):
        make(mimic)
    assert "38°C" in index_of(make(mimic, encoding="latin-1"))["text"].str.cat()


def test_error_missing_roots_and_tables(mimic: Tree, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: folder not found"):
        make(mimic, image_root=str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"neither data\.image_root nor data\.report_root"):
        make(mimic, image_root=None, report_root=None)
    with pytest.raises(UserError, match=r"found no reports, expected files/p10"):
        make(mimic, report_root=str(mimic.image_root / "files"))
    mimic.table("chexpert").unlink()
    with pytest.raises(UserError, match=r"found no mimic-cxr-2\.0\.0-chexpert\.csv\.gz .*data\.labels to \[\]"):
        make(mimic)
    mimic.table("split").unlink()
    with pytest.raises(UserError, match=r"found no mimic-cxr-2\.0\.0-split\.csv\.gz .*physionet"):
        make(mimic)


def test_error_table(mimic: Tree) -> None:
    mimic.rewrite("metadata", "ViewPosition", "View")
    with pytest.raises(UserError, match=r"metadata\.csv\.gz: found no column ViewPosition \(nearest: View\w*\) among"):
        make(mimic)
    mimic.rewrite("chexpert", "-1.0", "maybe")
    data = make(mimic, views=[])
    assert spec_of(data).dropped == {"label other than 1, 0, -1 and blank": 2} and spec_of(data).counts["train"] == 14
    mimic.rewrite("chexpert", "1.0,", "2,")
    with pytest.raises(UserError, match=r"chexpert\.csv\.gz: found '2' in row 2, column Atelectasis.*\(11 of 11"):
        make(mimic, views=[])
    mimic.rewrite("split", "validate", "holdout")
    with pytest.raises(UserError, match="found split 'holdout' of sample 0000000"):
        make(mimic, views=[], labels=[])
    mimic.table("split").write_bytes(mimic.table("split").read_bytes()[:-20])
    with pytest.raises(UserError, match=r"split\.csv\.gz: broken gzip"):
        make(mimic)
    mimic.table("split").write_bytes(gzip.compress("dicom_id\nä".encode("latin-1")))
    with pytest.raises(UserError, match=r"split\.csv\.gz: found byte 9 that is not UTF-8"):
        make(mimic)


def test_error_unknown_label(mimic: Tree) -> None:
    with pytest.raises(UserError, match=r"no column Atelektasis \(nearest: Atelectasis\)"):
        make(mimic, labels=["Atelektasis"])


def test_error_absent_study(mimic: Tree) -> None:
    shutil.rmtree(mimic.studies[0].images[0].parent)
    name = mimic.studies[0].images[0].name
    with pytest.raises(
        UserError, match=rf"images: test 2/2, train 7/8, val 2/2; first missing: .*{name} \(sample .*\); .*max_missing"
    ):
        make(mimic)
    data = make(mimic, max_missing=0.2)
    assert spec_of(data).dropped["missing image"] == 1 and spec_of(data).counts["train"] == 7


@pytest.mark.parametrize("workers", [0, 1])
def test_error_truncated_image_names_path_and_sample(mimic: Tree, workers: int) -> None:
    for study in mimic.studies[:8]:
        study.images[0].write_bytes(study.images[0].read_bytes()[:-300])
    with pytest.raises(UserError) as caught:
        list(make(mimic, num_workers=workers).train_dataloader())
    message = str(caught.value)
    assert "\n" not in message and "-pa.jpg: broken image" in message and "(sample 0" in message


def test_error_patient_in_two_splits(mimic: Tree) -> None:
    first, other = mimic.studies[0], mimic.studies[9]
    mimic.rewrite("split", f"{other.study},{other.subject}", f"{other.study},{first.subject}")
    with pytest.raises(UserError, match=f"found patient {first.subject} in train and val"):
        make(mimic, report_root=None, max_missing=1.0)


def test_value_chexpert_order_is_by_name() -> None:
    assert list(CHEXPERT) == sorted(CHEXPERT) and len(CHEXPERT) == 14


@pytest.mark.parametrize(
    ("modalities", "reads_labels", "told"),
    [
        (("image", "text"), True, True),
        (("text",), True, True),
        (("image",), True, False),
        (("image", "text"), False, False),
    ],
)
def test_value_labels_mined_from_the_report_are_told(
    mimic: Tree, modalities: tuple[str, ...], reads_labels: bool, told: bool
) -> None:
    data = MIMICCXRDataModule(str(mimic.image_root), str(mimic.report_root), image_size=32, text=TEXT)
    request = DataRequest(modalities, reads_labels=reads_labels)
    task = SimpleNamespace(data_request=lambda: request)
    data.trainer = SimpleNamespace(lightning_module=task)  # type: ignore[assignment]
    data.setup()
    assert any("mined from the report (chexpert)" in line for line in data.spec.notes) == told
