"""Open-i in its three forms: the archive, Kaggle's tables, R2Gen's file; the real reports with made-up images."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_modules.checks import check
from data_modules.errors import UserError
from data_modules.index.labels import OPENI
from data_modules.openi import OpenIDataModule
from data_modules.phantom import write_phantom
from data_modules.text.openi_tables import ANNOTATION, ARCHIVE, HEADERS, PROJECTIONS, REPORTS, film_key
from data_modules.text.tokenizer import TextOptions

SMALL = {"image_size": 16, "num_workers": 0, "text": TextOptions(vocab_size=300, min_count=1)}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("openi")
    write_phantom(out, patients=24, seed=4, size=48, workers=1, layouts="openi")
    return out / "layouts" / "openi"


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "openi"))


def only(root: Path, form: str) -> Path:
    """``root`` without what belongs to the other forms."""
    kept = {ARCHIVE: (ARCHIVE, HEADERS[0]), REPORTS: (REPORTS, PROJECTIONS), ANNOTATION: (ANNOTATION,)}[form]
    for name in (ARCHIVE, HEADERS[0], REPORTS, PROJECTIONS, ANNOTATION):
        if name not in kept:
            (root / name).unlink()
    return root


def read(root: Path, **options: object) -> OpenIDataModule:
    data = OpenIDataModule(str(root), **SMALL, **options)  # type: ignore[arg-type]
    data.setup()
    return data


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("CXR1_1_IM-0001-3001", "1_IM-0001-3001"),
        ("CXR1_IM-0001-3001", "1_IM-0001-3001"),
        ("CXR1_1_IM-0001-3001.png", "1_IM-0001-3001"),
        ("CXR1000_IM-0003-1001", "1000_IM-0003-1001"),
        ("1_IM-0001-4001.dcm.png", "1_IM-0001-4001"),
        ("CXR11_IM-0067-1001.jpg", "11_IM-0067-1001"),
        ("0.png", "0.png"),
    ],
)
def test_value_one_name_for_a_film(name: str, key: str) -> None:
    assert film_key(name) == key


def test_value_archive_and_kaggle_give_the_same_samples(root: Path, written: Path) -> None:
    archive = read(root, split="drawn").index
    (root / ARCHIVE).unlink()
    kaggle = read(root, split="drawn").index
    assert archive is not None and kaggle is not None
    same = ["id", "study", "patient", "split", "text", "image"]
    pd.testing.assert_frame_equal(archive[same], kaggle[same])
    assert archive["view"].isin(["unknown"]).sum() == len(archive) // 5 and not kaggle["view"].isin(["unknown"]).any()
    assert archive["id"].iloc[0].count("_") == 1 and not archive["image"].str.contains("/images/").any()
    assert archive.groupby("study")["split"].nunique().max() == 1


def test_value_r2gen_form_has_its_own_split(root: Path) -> None:
    listed = json.loads((root / ANNOTATION).read_text())
    data = read(only(root, ANNOTATION))
    assert data.spec.counts == {split: 2 * len(listed[split]) for split in ("train", "val", "test")}
    assert data.index is not None and data.index["image"].str.endswith(("/0.png", "/1.png")).all()
    first = listed["test"][0]
    rows = data.index[data.index["study"] == first["id"]]
    assert rows["split"].unique().tolist() == ["test"] and rows["text"].unique().tolist() == [first["report"]]
    assert read(root, split="drawn").spec.counts != data.spec.counts or len(listed["train"]) < 4
    with pytest.raises(UserError, match=r"holds findings only; set data.sections to findings"):
        read(root, sections="impression")


def test_value_published_split_of_the_archive(root: Path) -> None:
    listed = json.loads((root / ANNOTATION).read_text())
    data = read(root, split="r2gen")
    assert data.index is not None
    named = {entry["id"].split("_")[0].removeprefix("CXR"): split for split in listed for entry in listed[split]}
    assert dict(zip(data.index["study"], data.index["split"], strict=True)) == named
    assert data.spec.dropped["study not in R2Gen's split"] > 0
    (root / ANNOTATION).unlink()
    with pytest.raises(UserError, match=r"annotation.json: not found; data.split r2gen needs R2Gen's file"):
        read(root, split="r2gen")


def test_value_views_sections_and_labels(root: Path) -> None:
    frontal = read(root, views=["Frontal"], split="test", labels=OPENI)
    assert frontal.index is not None and set(frontal.index["view"]) == {"Frontal"}
    assert frontal.spec.counts["train"] == 0 and frontal.spec.counts["test"] == len(frontal.index)
    rows = frontal.index
    assert ((rows["Granuloma"] >= rows["Calcified Granuloma"]) & (rows["Edema"] <= 1)).all()
    assert 0 < rows["Atelectasis"].sum() < len(rows)
    every, findings = read(root), read(root, sections="findings")
    assert findings.spec.dropped["report without findings"] > 0
    assert sum(findings.spec.counts.values()) < sum(every.spec.counts.values())
    with pytest.raises(UserError, match=r"data.labels names 'Pneumonias'"):
        read(root, labels=["Pneumonias"])
    (root / HEADERS[0]).unlink()
    (root / PROJECTIONS).unlink()
    with pytest.raises(UserError, match=r"found no table of views, which data.views Frontal needs"):
        read(root, views=["Frontal"])
    (root / ARCHIVE).unlink()
    (root / REPORTS).unlink()
    with pytest.raises(UserError, match=r"expected it for data.labels, which are its MeSH terms"):
        read(root, labels=["Edema"])
    (root / ANNOTATION).unlink()
    with pytest.raises(UserError, match=r"found no reports, expected NLMCXR_reports.tgz, indiana_reports.csv"):
        read(root)


def test_value_check_names_each_trap(root: Path) -> None:
    reports, films = (root / name for name in (REPORTS, PROJECTIONS))
    head, first, second, *rest = films.read_text().splitlines()
    films.write_text("\n".join([head, first.replace(first.split(",")[0], "9999", 1), second, *rest]))
    found = check("openi", only(root, REPORTS), OpenIDataModule(str(root), **SMALL))  # type: ignore[arg-type]
    assert found.failed and "its studies are not in indiana_reports.csv (first: uid 9999)" in found.as_text()
    films.write_text("\n".join([head, first, second, *rest]))
    Path(next((root / "NLMCXR_png").glob(f"*{film_key(first.split(',')[1])}.png"))).unlink()
    found = check("openi", root, OpenIDataModule(str(root), **SMALL))  # type: ignore[arg-type]
    assert "missing image" in {finding.kind for finding in found.findings}
    assert reports.is_file()


def test_error_r2gen_file_of_other_keys(root: Path) -> None:
    listed = json.loads((root / ANNOTATION).read_text())
    only(root, ANNOTATION).joinpath(ANNOTATION).write_text(
        json.dumps({"train": listed["train"], "tset": listed["test"]})
    )
    with pytest.raises(UserError, match="found split 'tset'"):
        read(root)
    (root / ANNOTATION).write_text(json.dumps({"train": [{"id": "a", "image_path": ["a/0.png"]}]}))
    with pytest.raises(UserError, match="found no report, expected R2Gen's file"):
        read(root)


def make_up(folder: Path, names: list[str]) -> None:
    """One small picture under every name."""
    folder.mkdir(parents=True)
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(folder / "one.png")
    for name in names:
        (folder / name).hardlink_to(folder / "one.png")


def test_value_real_reports_in_all_three_forms(sample_data: Path, tmp_path: Path) -> None:
    """7,470 named images; the other two forms are derived from the archive."""
    for name in (ARCHIVE, HEADERS[0]):
        (tmp_path / name).symlink_to(sample_data / "openi_reports" / name)
    data = OpenIDataModule(str(tmp_path), split="test", labels=["Effusion", "Pneumothorax"])
    frame = data.read_index()
    assert len(frame) + sum(data.dropped.values()) == 7470 and frame["study"].nunique() <= 3851
    views = frame["view"].value_counts()
    assert views["Frontal"] > 3000 and views["Lateral"] > 800 and frame["id"].is_unique
    assert 100 < frame["Effusion"].sum() < 700
    kaggle = tmp_path / "kaggle"
    kaggle.mkdir()
    raw = data_texts(tmp_path)
    raw.drop_duplicates("study")[["study", "findings", "impression"]].rename(columns={"study": "uid"}).to_csv(
        kaggle / REPORTS, index=False
    )
    films = pd.DataFrame({"uid": raw["study"], "filename": raw["id"] + ".dcm.png", "projection": raw["view"]})
    films.to_csv(kaggle / PROJECTIONS, index=False)
    make_up(kaggle / "images_normalized", films["filename"].head(50).tolist())
    again = OpenIDataModule(str(kaggle), split="test").read_index()
    assert again[["id", "study", "text"]].equals(frame[["id", "study", "text"]])
    assert again["image"].str.contains("images_normalized").sum() >= 45
    r2gen = tmp_path / "r2gen"
    r2gen.mkdir()
    with_two = raw[raw["findings"] != ""].groupby("study").filter(lambda own: len(own) == 2)
    entries = [
        {"id": f"CXR{s}", "report": own["findings"].iloc[0], "image_path": [f"CXR{s}/0.png", f"CXR{s}/1.png"]}
        for s, own in with_two.groupby("study")
    ]
    parts = {"train": entries[:2069], "val": entries[2069:2365], "test": entries[2365:2955]}
    (r2gen / ANNOTATION).write_text(json.dumps(parts))
    third = OpenIDataModule(str(r2gen), sections="findings").read_index()
    expected = {name: 2 * len(part) for name, part in parts.items()}
    short = third["split"].value_counts().to_dict()
    assert all(0 <= expected[name] - short.get(name, 0) <= 40 for name in expected), (expected, short)


def data_texts(root: Path) -> pd.DataFrame:
    from data_modules.text.openi_tables import read_archive

    return read_archive(root)
