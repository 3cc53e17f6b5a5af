"""Test sets that experts labelled: CheXpert's 500 studies, MIMIC-CXR's 687, Google's labels of NIH images."""

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_modules.checks import check
from data_modules.chexpert_500 import CheXpert500DataModule
from data_modules.errors import UserError
from data_modules.index.labels import CHEXPERT
from data_modules.mimic_cxr_expert import LABELS, MIMICCXRExpertDataModule
from data_modules.nih_google import CLASSES, TABLE, NIHGoogleDataModule

SMALL = {"image_size": 16, "num_workers": 0}


def picture(path: Path, value: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shade = np.random.default_rng(value).integers(0, 255, (20, 16), dtype=np.uint8)
    Image.fromarray(shade).save(path)


@pytest.fixture
def chexpert_500(tmp_path: Path) -> Path:
    """6 studies; study 1 has a lateral view 1 and frontal views 2 and 10, the others a frontal and a lateral view."""
    lines = ["Study," + ",".join(CHEXPERT)]
    for n in range(6):
        study = f"test/patient{64741 + n}/study1"
        names = ("view1_lateral", "view2_frontal", "view10_frontal") if n == 1 else ("view1_frontal", "view2_lateral")
        for k, name in enumerate(names):
            picture(tmp_path / "CheXpert" / study / f"{name}.jpg", 10 * n + k)
        values = {"Edema": str(n % 2), "Support Devices": "1"}
        lines.append(f"CheXpert-v1.0/{study}," + ",".join(values.get(name, "0") for name in CHEXPERT))
    (tmp_path / "groundtruth.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_value_chexpert_500(chexpert_500: Path) -> None:
    data = CheXpert500DataModule(str(chexpert_500), labels=["Edema", "Fracture"], **SMALL)
    data.setup()
    assert data.spec.counts == {"train": 0, "val": 0, "test": 6} and data.index is not None
    rows = data.index.set_index("id")
    assert (
        rows["image"].str.rpartition("/")[2].tolist()
        == ["view1_frontal.jpg", "view2_frontal.jpg"] + ["view1_frontal.jpg"] * 4
    )
    assert rows["Edema"].tolist() == [0, 1, 0, 1, 0, 1] and rows["Fracture"].tolist() == [0] * 6
    assert rows.index[0] == "test/patient64741/study1" and rows["patient"].iloc[0] == "patient64741"


def test_value_chexlocalize_copy_is_one_row_an_image(chexpert_500: Path) -> None:
    table = chexpert_500 / "groundtruth.csv"
    head, *lines = table.read_text().splitlines()
    rows = [re.sub(r"(study1),", rf"\1/view{k}.jpg,", line) for line in lines for k in (1, 2)]
    (chexpert_500 / "test_labels.csv").write_text("\n".join([head.replace("Study", "Path"), *rows]))
    table.unlink()
    data = CheXpert500DataModule(str(chexpert_500), labels=["Edema"], **SMALL)
    data.setup()
    assert data.index is not None and data.index["Edema"].tolist() == [0, 1, 0, 1, 0, 1]
    odd = (chexpert_500 / "test_labels.csv").read_text().replace("view2.jpg,0", "view2.jpg,1", 1)
    (chexpert_500 / "test_labels.csv").write_text(odd)
    with pytest.raises(UserError, match=r"study test/patient64741/study1 is listed with two different labels \(1 such"):
        CheXpert500DataModule(str(chexpert_500), **SMALL).setup()


def line_of_two_labels(text: str) -> str:
    first = text.splitlines()[1]
    return text + first[:-1] + ("0" if first.endswith("1") else "1") + "\n"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text.replace("/patient64742/study1", "/patient64742"), "study of another form"),
        (lambda text: text.replace(",1\n", ",2\n", 1), "label other than 1, 0, -1 and blank"),
        (line_of_two_labels, "listed with two different labels"),
        (lambda text: text.replace("Edema", "Oedema"), "found no column Edema"),
        (lambda text: text.replace("patient64746", "patient99999"), "first missing: .*patient99999/study1/view1"),
    ],
    ids=["path", "value", "two truths", "column", "image"],
)
def test_value_check_of_chexpert_500_names_each_trap(
    chexpert_500: Path, spoil: Callable[[str], str], message: str
) -> None:
    table = chexpert_500 / "groundtruth.csv"
    table.write_text(spoil(table.read_text()))
    found = check("chexpert_500", chexpert_500, CheXpert500DataModule(str(chexpert_500), **SMALL), decode_all=True)
    assert re.search(message.replace("first missing: .*", ""), found.as_text()), found.as_text()


def test_value_mimic_expert(mimic: "Tree") -> None:  # type: ignore[name-defined]  # noqa: F821
    theirs = ["Airspace Opacity" if name == "Lung Opacity" else name for name in CHEXPERT]
    lines = ["study_id," + ",".join(theirs)]
    for study, value in (("50000010", "1.0"), ("50000011", "-1.0"), ("50000003", "1.0"), ("59999999", "0.0")):
        lines.append(f"{study}," + ",".join(value if name == "Airspace Opacity" else "" for name in theirs))
    (mimic.image_root / f"{LABELS}.csv").write_text("\n".join(lines))
    data = MIMICCXRExpertDataModule(str(mimic.image_root), **SMALL)
    data.setup()
    assert data.index is not None and data.spec.counts == {"train": 0, "val": 0, "test": 2}
    np.testing.assert_array_equal(data.index["Lung Opacity"], [1, np.nan])
    assert data.index["Edema"].tolist() == [0, 0]
    assert data.spec.dropped == {"labelled study outside the official test split": 2, "view": 2}
    assert any("1 labelled studies are not in the split table (first: 59999999)" in note for note in data.spec.notes)
    found = check("mimic_cxr_expert", mimic.image_root, MIMICCXRExpertDataModule(str(mimic.image_root), **SMALL))
    assert not found.failed and "outside the official test split" in found.as_text()
    (mimic.image_root / f"{LABELS}.csv").unlink()
    with pytest.raises(UserError, match=r"found no mimic-cxr-2.1.0-test-set-labeled.csv.gz or .*release 2.1.0"):
        MIMICCXRExpertDataModule(str(mimic.image_root), **SMALL).setup()


@pytest.fixture
def nih_google(tmp_path: Path) -> Path:
    """4 val and 4 test images; NIH's own column says Pneumothorax of the first, Google's says NO."""
    lines = ["Image Index,Finding Labels,Patient ID," + ",".join(CLASSES) + ",Set Id"]
    for n in range(8):
        name = f"{n + 1:08d}_000.png"
        picture(tmp_path / "images_001" / "images" / name, n)
        said = ("yes", "NO", "YES", "NO") if n == 0 else ("NO", "YES" if n % 2 else "NO", "NO", "YES")
        lines.append(f"{name},Pneumothorax,{n + 1},{','.join(said)},{'val' if n < 4 else 'test'}")
    (tmp_path / f"{TABLE}.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    (tmp_path / "train_val_list.txt").write_text("00000001_000.png\n00000006_004.png\n")
    return tmp_path


def respoil(root: Path, old: str, new: str) -> None:
    path = root / f"{TABLE}.csv.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    assert old in text
    path.write_bytes(gzip.compress(text.replace(old, new, 1).encode()))


def test_value_nih_google(nih_google: Path) -> None:
    data = NIHGoogleDataModule(str(nih_google), **SMALL)
    data.setup()
    assert data.spec.counts == {"train": 0, "val": 4, "test": 4} and data.index is not None
    first = data.index.set_index("id").loc["00000001_000.png"]
    assert first[list(CLASSES)].tolist() == [1, 0, 1, 0]
    assert data.spec.notes == ["images whose patients are in train_val_list.txt: test 1, val 1"]
    respoil(nih_google, "NO,NO,NO,YES", "NO,maybe,NO,YES")
    found = check("nih_google", nih_google, NIHGoogleDataModule(str(nih_google), **SMALL)).as_text()
    assert "label other than YES and NO" in found
    respoil(nih_google, "NO,YES,NO,YES", "NO,,NO,YES")
    with pytest.raises(UserError, match=r"found '' in row 3, column Pneumothorax, expected YES or NO;.*\(2 of 8"):
        NIHGoogleDataModule(str(nih_google), **SMALL).setup()


def test_value_check_finds_a_patient_in_both_sets(nih_google: Path) -> None:
    respoil(nih_google, "00000008_000.png,Pneumothorax,8", "00000008_000.png,Pneumothorax,1")
    found = check("nih_google", nih_google, NIHGoogleDataModule(str(nih_google), **SMALL))
    assert found.failed and "patient in two splits" in {finding.kind for finding in found.findings}


def test_value_real_google_labels(sample_data: Path, tmp_path: Path) -> None:
    """Counts of the published table; images of its first rows are made up."""
    source = sample_data / "nih_cxr14_labels" / f"{TABLE}.csv.gz"
    (tmp_path / source.name).symlink_to(source)
    frame = NIHGoogleDataModule(str(tmp_path), **SMALL).read_index()
    assert frame["split"].value_counts().to_dict() == {"val": 2414, "test": 1962}
    assert frame["patient"].nunique() == 1695
    counts = {"Fracture": 186, "Pneumothorax": 238, "Airspace opacity": 2166, "Nodule or mass": 605}
    assert {name: int(frame[name].sum()) for name in counts} == counts
    assert not set(frame.loc[frame["split"] == "val", "patient"]) & set(frame.loc[frame["split"] == "test", "patient"])
