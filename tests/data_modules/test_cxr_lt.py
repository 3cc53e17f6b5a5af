"""CXR-LT: every version of its tables on the phantom, and all that they can have wrong."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_modules.checks import check
from data_modules.cxr_lt import VERSIONS, CXRLTDataModule
from data_modules.errors import UserError
from data_modules.phantom import write_phantom

SOME = ["Cardiomegaly", "Pleural Effusion", "Mass"]


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom")
    write_phantom(out, patients=40, seed=9, size=64, workers=1, layouts="cxr_lt")
    return out


@pytest.fixture
def root(phantom: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(phantom / "layouts" / "cxr_lt", tmp_path / "cxr_lt"))


def read(root: Path, phantom: Path, **options: Any) -> CXRLTDataModule:
    return CXRLTDataModule(str(root), str(phantom / "mimic-cxr-jpg"), image_size=32, num_workers=0, **options)


def found(root: Path, phantom: Path, **options: Any) -> dict[str, str]:
    result = check("cxr_lt", root, read(root, phantom, **options))
    return {finding.kind: finding.severity for finding in result.findings}


def change(path: Path, column: str, row: int, value: str) -> None:
    table = pd.read_csv(path, dtype=str)
    table.loc[row, column] = value
    table.to_csv(path, index=False)


@pytest.mark.parametrize(
    ("version", "classes"),
    [("2023", 26), ("2024-task1", 40), ("2024-task2", 26), ("2024-task3", 5), ("2024-all", 45), ("2023-pruning", 19)],
)
def test_value_every_version(version: Any, classes: int, phantom: Path) -> None:
    films = pd.read_csv(phantom / "mimic-cxr-jpg" / "mimic-cxr-2.0.0-metadata.csv.gz", dtype=str)
    splits = pd.read_csv(phantom / "mimic-cxr-jpg" / "mimic-cxr-2.0.0-split.csv.gz", dtype=str)
    films = films.merge(splits[["dicom_id", "split"]], on="dicom_id")
    frontal = films[films["ViewPosition"] != "LATERAL"]
    expected = (frontal if version == "2023-pruning" else films)["split"].value_counts().to_dict()
    expected["train"] *= version != "2024-task3"
    data = read(phantom / "layouts" / "cxr_lt", phantom, version=version)
    data.setup()
    assert data.spec.counts == {"train": expected["train"], "val": expected["validate"], "test": expected["test"]}
    assert len(data.spec.classes) == classes == len(set(VERSIONS[version].classes))
    assert "labels" in data.samples("test")[0]


def test_value_labels_are_those_that_the_films_show(phantom: Path) -> None:
    data = read(phantom / "layouts" / "cxr_lt", phantom, labels=SOME, views=["PA", "AP"])
    data.setup()
    index = data.index
    assert index is not None and list(index.columns[index.columns.isin(SOME)]) == SOME
    truth = [json.loads(line) for line in (phantom / "truth" / "findings.jsonl").read_text().splitlines()]
    kinds = {film["dicom_id"]: {f["kind"] for f in film["findings"]} for film in truth}
    assert [("mass" in kinds[name]) for name in index["id"]] == (index["Mass"] == 1).tolist()
    assert index["Mass"].sum() > 0 and data.dropped == {"view": len(truth) - len(index)}


def test_value_one_of_the_two_folders_is_a_root(phantom: Path) -> None:
    data = read(phantom / "layouts" / "cxr_lt" / "cxr-lt-2023", phantom, version="2023", labels=SOME)
    assert len(data.read_index()) == len(read(phantom / "layouts" / "cxr_lt", phantom, labels=SOME).read_index())


def test_error_an_image_in_two_splits(root: Path, phantom: Path) -> None:
    folder = root / "cxr-lt-2024"
    tested = pd.read_csv(folder / "test_labeled_task1.csv", dtype=str).head(1)
    train = pd.read_csv(folder / "train_labeled.csv", dtype=str)
    pd.concat([train, tested]).to_csv(folder / "train_labeled.csv", index=False)
    name = tested["dicom_id"].iloc[0]
    with pytest.raises(UserError, match=rf"found image {name} in train and test \(1 such images\), expected every"):
        read(root, phantom, labels=SOME).setup()
    kinds = found(root, phantom, labels=SOME)
    assert kinds["image in two splits"] == "error" and "image twice in one table" not in kinds
    pd.concat([train, train.tail(1)]).to_csv(folder / "train_labeled.csv", index=False)
    assert found(root, phantom, labels=SOME)["image twice in one table"] == "error"


def test_error_a_class_without_a_column(root: Path, phantom: Path) -> None:
    path = root / "cxr-lt-2024" / "test_labeled_task1.csv"
    pd.read_csv(path, dtype=str).drop(columns="Kyphosis").to_csv(path, index=False)
    with pytest.raises(UserError, match=r"test_labeled_task1\.csv: found no column Kyphosis .* or data\.labels"):
        read(root, phantom).setup()
    assert found(root, phantom)["unreadable"] == "error"
    read(root, phantom, labels=SOME).setup()


def test_value_images_unknown_to_mimic(root: Path, phantom: Path) -> None:
    path = root / "cxr-lt-2024" / "train_labeled.csv"
    change(path, "dicom_id", 0, "00000000-unknown")
    data = read(root, phantom, labels=SOME)
    data.setup()
    assert data.dropped == {"image unknown to MIMIC-CXR-JPG": 1}
    assert found(root, phantom, labels=SOME)["left out"] == "info"
    change(path, "dicom_id", 1, "")
    change(path, "dicom_id", 2, "00000000-other")
    with pytest.raises(UserError, match=r"found image 00000000-unknown of train, which is not in the split table"):
        read(root, phantom, labels=SOME).setup()


def test_value_a_label_that_is_no_label(root: Path, phantom: Path) -> None:
    change(root / "cxr-lt-2024" / "test_labeled_task1.csv", "Mass", 0, "maybe")
    data = read(root, phantom, labels=SOME)
    data.setup()
    assert data.dropped == {"label other than 1, 0, -1 and blank": 1}


def test_value_a_class_without_a_positive(root: Path, phantom: Path) -> None:
    for name in ("train_labeled", "development_labeled_task1"):
        path = root / "cxr-lt-2024" / f"{name}.csv"
        pd.read_csv(path, dtype=str).assign(Mass="0").to_csv(path, index=False)
    result = check("cxr_lt", root, read(root, phantom, labels=SOME))
    told = [finding.message for finding in result.findings if finding.kind == "class without a positive"]
    assert len(told) == 2 and all("Mass" in line and "has no positive" in line for line in told) and not result.failed


def test_error_no_tables(tmp_path: Path, phantom: Path) -> None:
    with pytest.raises(UserError, match=r"found no train_labeled\.csv\.gz or train_labeled\.csv in .*CXR-LT 2\.0\.0"):
        read(tmp_path, phantom).setup()
    with pytest.raises(UserError, match=r"folder not found; set data\.root to the folder of CXR-LT"):
        read(tmp_path / "none", phantom).setup()


def test_value_a_split_that_the_release_calls_development(phantom: Path) -> None:
    data = read(phantom / "layouts" / "cxr_lt", phantom, version="2024-all", labels=SOME)
    table = pd.read_csv(phantom / "layouts" / "cxr_lt" / "cxr-lt-2024" / "labels.csv", dtype=str)
    data.setup()
    assert data.spec.counts["val"] == int((table["split"] == "development").sum()) > 0
    assert np.isfinite(data.split_rows("val")[SOME].to_numpy(float)).all()
