"""ROCO in its layouts, its errors, and the real captions."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_modules.errors import UserError
from data_modules.prepare import prepare
from data_modules.roco import ROCODataModule


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 24), 9, np.uint8)).save(path)


def original(root: Path, split: str, count: int, first: int, absent: int = 0) -> None:
    folder = root / "data" / split / "radiology"
    folder.mkdir(parents=True)
    names = [f"ROCO_{first + n:05d}" for n in range(count)]
    (folder / "captions.txt").write_text("".join(f"{n}\t A caption of {n}.\n" for n in names))
    (folder / "licences.txt").write_text(
        "ROCO_ID,PMC_ID,CC\n" + "".join(f"{n},PMC{i}_a-g1.jpg,CC BY\n" for i, n in enumerate(names))
    )
    for name in names[absent:]:
        picture(folder / "images" / f"{name}.jpg")


def make(root: Path, **options: Any) -> ROCODataModule:
    data = ROCODataModule(str(root), image_size=16, batch_size=2, num_workers=0, **options)
    data.setup()
    return data


def test_value_original(tmp_path: Path) -> None:
    for i, (split, count) in enumerate((("train", 6), ("validation", 3), ("test", 2))):
        original(tmp_path, split, count, 100 * i, absent=int(split == "train"))
    data = make(tmp_path)
    assert data.index is not None
    assert data.spec.counts == {"train": 5, "val": 3, "test": 2} and data.spec.dropped == {"missing image": 1}
    assert data.index["text"].iloc[0].startswith("A caption") and set(data.index["license"]) == {"CC BY"}
    assert "train 3, val 3" in data.spec.notes[0].replace("test 2, ", "")
    assert data.spec.notes[-1] == "images found: test 2/2, train 5/6, val 3/3"
    apart = make(tmp_path, article_disjoint=True)
    assert apart.spec is not None and apart.spec.counts == {"train": 3, "val": 1, "test": 2}
    few = make(tmp_path, retrieval_pairs=2)
    assert few.spec is not None and few.spec.counts == {"train": 5, "val": 2, "test": 2}


def test_value_flat_and_v2(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        folder = tmp_path / "flat" / "all_data" / split / "radiology"
        picture(folder / "images" / f"{split}.jpg")
        stem = {"validation": "val"}.get(split, split)
        (folder / f"{stem}data.csv").write_text(f'id,name,caption\n{split},{split}.jpg," A chest, twice seen"\n')
    flat = ROCODataModule(str(tmp_path / "flat"))
    assert flat.read_index()["split"].value_counts().to_dict() == {"train": 1, "val": 1, "test": 1}
    for split in ("train", "valid", "test"):
        name = f"ROCOv2_2023_{split}_000001"
        picture(tmp_path / "v2" / f"{split}_images" / split / f"{name}.jpg")
        (tmp_path / "v2" / f"{split}_captions.csv").write_text(f'ID,Caption\n{name},"A chest, once seen"\n')
    (tmp_path / "v2" / "license_information.csv").write_text("ID,License\nROCOv2_2023_test_000001,CC BY\n")
    frame = ROCODataModule(str(tmp_path / "v2")).read_index().set_index("split")
    assert frame.loc["test", "license"] == "CC BY" and all(Path(p).is_file() for p in frame["image"])


def hub_table(tmp_path: Path, split: str, count: int) -> pd.DataFrame:
    """Rows as the hub hands them out: the image's bytes inside, gray level 10 times the row."""
    rows = []
    for i in range(count):
        file = tmp_path / f"{split}{i}.png"
        Image.fromarray(np.full((20, 24), 10 * i, np.uint8)).save(file)
        image = {"bytes": file.read_bytes(), "path": None}
        rows.append({"image": image, "image_id": f"ROCOv2_2023_{split}_{i:06d}", "caption": f" A chest of {split} {i}"})
    return pd.DataFrame(rows)


def test_value_hub_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parquet shards and a saved ``DatasetDict``: ids, captions and the bytes of the right image."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    shards, saved = tmp_path / "shards", tmp_path / "saved"
    (shards / "data").mkdir(parents=True)
    tables = {split: hub_table(tmp_path, split, n) for split, n in (("train", 5), ("validation", 3), ("test", 4))}
    for split, table in tables.items():
        for i, part in enumerate((table[:2], table[2:])):
            part.to_parquet(shards / "data" / f"{split}-{i:05d}-of-00002.parquet")
    datasets.DatasetDict({k: datasets.Dataset.from_pandas(v) for k, v in tables.items()}).save_to_disk(saved)
    for root in (shards, saved):
        data = make(root)
        assert data.index is not None
        assert data.spec.counts == {"train": 5, "val": 3, "test": 4}
        sample = next(s for s in data.samples("test") if s["id"] == "ROCOv2_2023_test_000003")
        assert sample["text"] == "A chest of test 3" and sample["image"].unique().tolist() == [30]
    bad = tmp_path / "bad"
    bad.mkdir()
    tables["test"].rename(columns={"caption": "legend"}).to_parquet(bad / "test-00000-of-00001.parquet")
    with pytest.raises(UserError, match=r"in split test, expected caption; download the data set again"):
        make(bad)


def test_error(tmp_path: Path) -> None:
    original(tmp_path, "test", 2, 0)
    captions = tmp_path / "data" / "test" / "radiology" / "captions.txt"
    good = captions.read_text()
    captions.write_text(good + "ROCO_00001\t Again a caption.\nROCO_00002 no tab\n")
    data = make(tmp_path)
    assert data.spec.counts["test"] == 2
    assert data.spec.dropped == {"line without id and caption": 1, "repeated id": 1}
    captions.write_text(good + "ROCO_00001\t Again a caption.\n" * 2)
    with pytest.raises(UserError, match=r"captions\.txt: found id ROCO_00001 in rows 2 and 3, .*\(2 of 4 such"):
        make(tmp_path)
    captions.write_text("ROCO_00001 no tab\n")
    with pytest.raises(UserError, match=r"captions\.txt: row 1 is 'ROCO_00001 no tab', expected id, tab, caption"):
        make(tmp_path)
    with pytest.raises(UserError, match=r"found none of the layouts of ROCO"):
        make(tmp_path / "data" / "test" / "radiology" / "images")


def test_value_repeated_ids_of_a_table_and_notes_of_macos(tmp_path: Path) -> None:
    (tmp_path / "test_captions.csv").write_text("ID,Caption\na,one two three\na,four five six\nb,seven eight nine\n")
    (tmp_path / "._test_captions.csv").write_bytes(b"\0\5\26\7")
    data = ROCODataModule(str(tmp_path))
    assert data.read_index()["text"].tolist() == ["one two three", "seven eight nine"]
    assert data.dropped == {"repeated id": 1}


def test_value_choices_follow_the_split_and_a_store_keeps_every_row(tmp_path: Path) -> None:
    for i, (split, count) in enumerate((("train", 8), ("validation", 6), ("test", 4))):
        original(tmp_path / "roco", split, count, 100 * i)
    options: dict[str, Any] = {"article_disjoint": True, "retrieval_pairs": 2, "image_size": 16, "num_workers": 0}
    assert len(ROCODataModule(str(tmp_path / "roco"), **options).read_index()) == 18
    data = ROCODataModule(str(tmp_path / "roco"), **options)
    data.setup()
    assert data.spec.counts == {"train": 2, "val": 2, "test": 2}
    prepare(ROCODataModule(str(tmp_path / "roco"), **options), tmp_path / "store", workers=1)
    assert len(ROCODataModule(str(tmp_path / "store"), **options).rows()) == 18
    stored = ROCODataModule(str(tmp_path / "store"), **options)
    stored.setup()
    assert stored.spec == data.spec and stored.index is not None and data.index is not None
    assert stored.index["id"].tolist() == data.index["id"].tolist()


def test_value_roco_real(sample_data: Path) -> None:
    """1,500 + 1,500 captions, of which 26 + 23 have fewer than 3 words; no image is there, and that is said."""
    data = ROCODataModule(str(sample_data / "roco_v1"))
    frame = data.read_index()
    assert frame["split"].value_counts().to_dict() == {"test": 1477, "val": 1474}
    assert frame["license"].notna().all() and not frame["text"].str.startswith(" ").any()
    with pytest.raises(UserError, match=r"found images: test 0/1,477, val 0/1,474"):
        make(sample_data / "roco_v1")
