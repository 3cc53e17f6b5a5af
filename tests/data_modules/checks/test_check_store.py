"""`check` of a prepared store: a clean one is silent, and every planted fault is found and named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_modules.checks import check
from data_modules.checks.result import CheckResult
from data_modules.pairs import PairsDataModule
from data_modules.prepare import Options, prepare
from data_modules.siim_pneumothorax import SIIMPneumothoraxDataModule
from data_modules.store.store import open_store, seal
from mpma_lightning.cli.main import main
from tests.data_modules.test_annotated_sets import dicom

COUNTS = {"train": 12, "val": 4, "test": 8}
LAST = "data-00002-of-00003.arrow"


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 films of 12 patients, two each, as JPEG and as raw pixels, in three shards of 10, 10 and 4."""
    root = tmp_path_factory.mktemp("stores")
    rng = np.random.default_rng(0)
    rows = ["image,text,patient,split"]
    for n in range(24):
        pixels = Image.fromarray(rng.integers(0, 255, (6, 6), dtype=np.uint8)).resize((72, 60))
        pixels.save(root / f"{n}.png")
        split = "train" if n < 12 else "val" if n < 16 else "test"
        rows.append(f"{n}.png,a report about case {n},p{n // 2},{split}")
    (root / "pairs.csv").write_text("\n".join(rows))
    for payload in ("jpeg", "raw"):
        options = Options(short_side=40, payload=payload)  # type: ignore[arg-type]
        prepare(PairsDataModule(str(root)), root / payload, options, workers=1, per_shard=10)
    return root


@pytest.fixture(params=["jpeg", "raw"])
def store(stores: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return Path(shutil.copytree(stores / request.param, tmp_path / "store"))


def examine(folder: Path) -> CheckResult:
    return check("pairs", folder, PairsDataModule.from_root(folder), decode_all=True)


def faults(folder: Path) -> dict[str, list[str]]:
    """Kind -> cases of the errors; of one without cases its message."""
    return {f.kind: f.items or [f.message] for f in examine(folder).findings if f.severity == "error"}


def edit_rows(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    path = folder / "rows.parquet"
    pq.write_table(pa.Table.from_pandas(change(pq.read_table(path).to_pandas()), preserve_index=False), path)


def edit_manifest(folder: Path, sealed: bool = False, **values: Any) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text()) | values
    path.write_text(json.dumps(manifest | ({"seal": seal(manifest)} if sealed else {})))


def edit_shard(folder: Path, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    path = folder / "images" / name
    with pa.OSFile(str(path)) as source:
        table = pa.ipc.open_stream(source).read_all()
    changed = pa.Table.from_pandas(
        change(table.to_pandas(integer_object_nulls=True)), table.schema, preserve_index=False
    )
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(changed)


def test_value_a_clean_store_is_silent(store: Path) -> None:
    result = examine(store)
    assert result.findings == [] and not result.failed
    samples = {f"{split} samples": count for split, count in COUNTS.items()}
    assert result.counts == {"shards": 3, **samples, "patients": 12, "studies": 24, "images": 24}
    assert [name for name in result.counts if name in samples] == ["train samples", "val samples", "test samples"]


def test_value_a_truncated_shard(store: Path) -> None:
    path = store / "images" / LAST
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size // 2])
    first, second = faults(store)["shard that is not that of the manifest"]
    assert first.startswith(f"{path}: found {size // 2:,} bytes of SHA-256 ") and ", expected " in first
    assert second.startswith(f"{path}: cannot be read")


def test_value_lost_and_foreign_shards(store: Path) -> None:
    path = store / "images" / LAST
    path.rename(store / "images" / "other.arrow")
    foreign, lost = faults(store)["shard that is not that of the manifest"]
    assert "other.arrow: found a shard that the manifest does not list" in foreign
    assert lost.startswith(f"{path}: cannot be read") and "No such file" in lost


def test_value_a_flipped_payload_byte(store: Path) -> None:
    """Every image of the shard is then looked at: the first byte of a JPEG is in its signature."""
    path = store / "images" / LAST
    with pa.memory_map(str(path)) as source:
        payload = pa.ipc.open_stream(source).read_all()["payload"][1].as_py()
    content = path.read_bytes()
    assert content.count(payload) == 1
    place = content.index(payload)
    path.write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
    result = check("pairs", store, PairsDataModule.from_root(store))
    found = {finding.kind: finding.items for finding in result.findings}
    (item,) = found.pop("shard that is not that of the manifest")
    assert item.startswith(f"{path}: found {len(content):,} bytes of SHA-256")
    if payload.startswith(b"\xff\xd8"):
        (item,) = found.pop("broken image")
        assert item.startswith(f"{path}: row 1: found no JPEG of 13.png (unknown format), expected 48 x 40 pixels")
    assert found == {} and result.failed


def test_value_a_deleted_row(store: Path) -> None:
    edit_rows(store, lambda rows: rows.drop(index=rows.index[rows["id"] == "20.png"]))
    (kind, (digest, count)), *rest = faults(store).items()
    assert kind == "rows that are not those of the manifest" and not rest
    assert digest.startswith(f"{store / 'rows.parquet'}: found ") and "bytes of SHA-256" in digest
    assert count == f"{store / 'rows.parquet'}: found 7 rows of test, expected 8"


def test_value_a_sample_moved_to_another_split(store: Path) -> None:
    """Its patient then is in two; with the whole patient moved the counts tell."""
    edit_rows(store, lambda rows: rows.assign(split=rows["split"].mask(rows["id"] == "20.png", "train")))
    found = faults(store)
    assert found["patient in two splits"] == ["p10: test and train"]
    assert [item.split(": found ")[1] for item in found["rows that are not those of the manifest"]][1:] == [
        "7 rows of test, expected 8", "13 rows of train, expected 12",
    ]  # fmt: skip
    edit_rows(store, lambda rows: rows.assign(split=rows["split"].mask(rows["patient"] == "p10", "train")))
    found = faults(store)
    assert "patient in two splits" not in found and "14 rows of train" in str(found)


def test_value_rows_exchanged_between_splits_are_told_by_their_hash(store: Path) -> None:
    ids = {"12.png": "train", "13.png": "train", "0.png": "val", "1.png": "val"}
    edit_rows(store, lambda rows: rows.assign(split=rows["id"].map(ids).fillna(rows["split"])))
    (items,) = faults(store).values()
    assert ["found rows of train with hash" in items[1], "found rows of val with hash" in items[2]] == [True, True]


def test_value_an_edited_manifest(store: Path) -> None:
    """By its seal; and by what it says, where somebody sealed it again."""
    whole = (store / "manifest.json").read_text()
    edit_manifest(store, seed=7)
    (items,) = faults(store).values()
    assert "manifest.json: found content of SHA-256" in items[0] and "it was edited; copy the store again" in items[0]
    for values, words in (
        ({"counts": {**COUNTS, "val": 5}}, "found 4 rows of val, expected 5"),
        ({"split_hashes": {}}, "found rows of test with hash"),
        ({"manifest_hash": "0" * 64}, f"expected {'0' * 64}"),
        ({"shards": json.loads(whole)["shards"] | {LAST: "0" * 64}}, f"{LAST}: found "),
        ({"label_names": ["Edema"]}, "found no column Edema, expected id, patient, study, split, Edema"),
        ({"short_side": 50}, "found 48 x 40 pixels of 0.png, expected 60 x 50: a file of 72 x 60 shrunk to 50"),
        ({"module": "ROCODataModule"}, "found a store of ROCODataModule, expected one of PairsDataModule"),
        ({"counts": 24}, "manifest.json: found counts 24, expected a value of type dict"),
        ({"version": 1}, "manifest.json: found version 1, expected"),
    ):
        (store / "manifest.json").write_text(whole)
        edit_manifest(store, sealed=True, **values)
        assert words in str(faults(store)), words
    (store / "manifest.json").write_text(whole[:100])
    assert "manifest.json: found broken JSON" in str(faults(store))
    (store / "manifest.json").unlink()
    assert "manifest.json: cannot be read" in str(faults(store))


def test_value_rows_lost_or_unreadable(store: Path) -> None:
    path = store / "rows.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    assert "rows.parquet: cannot be read" in str(faults(store))
    path.unlink()
    assert "rows.parquet: cannot be read" in str(faults(store))


def test_value_image_out_of_range_and_sample_twice(store: Path) -> None:
    def change(rows: pd.DataFrame) -> pd.DataFrame:
        rows.loc[rows["id"] == "3.png", "image"] = 24
        rows.loc[rows["id"] == "4.png", "id"] = "5.png"
        return rows

    edit_rows(store, change)
    found = faults(store)
    (item,) = found["row without an image"]
    assert item.startswith("rows.parquet: found image 24 in row ") and item.endswith("(sample 3.png), expected 0 to 23")
    assert any("found sample 5.png twice" in item for item in found["rows that are not those of the manifest"])


def test_value_payload_of_another_shape_and_of_a_broken_image(store: Path) -> None:

    def change(shard: pd.DataFrame) -> pd.DataFrame:
        shard.loc[0, ["payload", "broken"]] = [None, "a reason"]
        shard.loc[1, "width"] = 47
        if shard["raw"][2]:
            shard.loc[2, "payload"] = shard.loc[2, "payload"][:-5]
        return shard

    edit_shard(store, LAST, change)
    items = faults(store)["broken image"]
    assert "row 0: found no picture of 12.png (a reason), expected one" in items[0]
    assert "row 1: found 47 x 40 pixels of 13.png, expected 48 x 40" in items[1]
    found = open_store(store)
    assert found is not None and len(items) == {"jpeg": 2, "raw": 3}[found.manifest["encoding"]["payload"]]
    assert len(items) == 2 or "row 2: found 1,915 bytes of 14.png, expected 1,920 or 5,760" in items[2]


def test_value_equal_and_similar_pictures_in_two_splits(stores: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(stores, tmp_path / "raw", ignore=shutil.ignore_patterns("jpeg", "raw")))
    shutil.copy(root / "0.png", root / "20.png")
    with Image.open(root / "1.png") as image:
        image.resize((70, 58)).save(root / "22.png")
    prepare(PairsDataModule(str(root)), tmp_path / "store", workers=1)
    found = faults(tmp_path / "store")
    (equal,) = found["image in two splits (byte-identical)"]
    assert equal == "20.png (test, patient p10) = 0.png (train, patient p0)"
    (near,) = found["picture in two splits (near-duplicate)"]
    assert near == "22.png (test, patient p11) = 1.png (train, patient p0)"
    (tmp_path / "exclude.txt").write_text("p10\np11\n")
    data = PairsDataModule(str(tmp_path / "store"), exclude=[str(tmp_path / "exclude.txt")])
    assert not check("pairs", tmp_path / "store", data, decode_all=True).failed


@pytest.mark.parametrize("where", [".", "raw"])
def test_value_split_file_and_exclusion_decide_as_in_a_run(stores: Path, tmp_path: Path, where: str) -> None:
    """20 of 24 films are listed, those of p4 in two splits; of a data set as of a store."""
    split, exclude = tmp_path / "split.csv", tmp_path / "exclude.txt"
    listed = [f"{n}.png,{'train' if n < 9 else 'test'}" for n in range(20)]
    split.write_text("\n".join(["id,split", *listed]))
    exclude.write_text("p4\n")

    def examined(**options: Any) -> tuple[dict[str, list[str]], dict[str, int], list[str]]:
        result = check("pairs", stores / where, PairsDataModule(str(stores / where), **options))
        found = {f.kind: f.items or [f.message] for f in result.findings if f.severity == "error"}
        counts = {k.split()[0]: n for k, n in result.counts.items() if k.endswith(" samples")}
        return found, counts, [f.message for f in result.findings if f.kind == "left out"]

    left_out = ["4 samples left out: not in the split file", "2 samples left out: excluded patient"]
    found = examined(split_file=str(split))
    assert found == ({"patient in two splits": ["p4: test and train"]}, {"train": 9, "test": 11}, left_out[:1])
    found = examined(split_file=str(split), exclude=[str(exclude)])
    assert found == ({}, {"train": 8, "test": 10}, left_out)
    split.write_text("id,split\nother.png,test\n")
    exclude.unlink()
    found = examined(split_file=str(split), exclude=[str(exclude)])
    assert found[0].keys() == {"split file", "exclusion manifest"} and found[1] == COUNTS
    assert "1 of 1 listed samples are not in the data (first: other.png)" in found[0]["split file"][0]
    assert f"{exclude}: exclusion manifest not found" in found[0]["exclusion manifest"][0]


def test_value_masks_and_dicom(tmp_path: Path) -> None:
    """A drawn split, run lengths and DICOM files of 20 x 30 pixels, as large as they were."""
    rng = np.random.default_rng(0)
    for n in range(20):
        small = Image.fromarray(rng.integers(0, 255, (5, 5), dtype=np.uint8))
        dicom(tmp_path / "raw" / "dicom-images-train" / f"{n}.dcm", np.asarray(small.resize((20, 30))))
    rows = [f"{n},{'1 2' if n % 4 == 0 else '-1'}" for n in range(20)]
    (tmp_path / "raw" / "train-rle.csv").write_text("\n".join(["ImageId,EncodedPixels", *rows]))
    prepare(SIIMPneumothoraxDataModule(str(tmp_path / "raw"), balanced=False), tmp_path / "store", workers=1)
    data = SIIMPneumothoraxDataModule.from_root(tmp_path / "store", balanced=False)
    result = check("siim_pneumothorax", tmp_path / "store", data, decode_all=True)
    assert not [finding for finding in result.findings if finding.severity != "info"]
    edit_rows(tmp_path / "store", lambda rows: rows.assign(runs=[["900 900"]] * len(rows)))
    result = check("siim_pneumothorax", tmp_path / "store", data, decode_all=True)
    (finding,) = [f for f in result.findings if f.kind.startswith("mask or box")]
    assert len(finding.items) == len(pq.read_table(tmp_path / "store" / "rows.parquet"))


def test_value_command_line(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["check", "pairs", "--root", str(store), "--json", str(tmp_path / "report.json")]
    assert main(command) == 0 and "0 kinds of errors, 0 of warnings" in capsys.readouterr().out
    assert not json.loads((tmp_path / "report.json").read_text())["findings"]
    edit_rows(store, lambda rows: rows.drop(index=0))
    assert main(command) == 1
    out = capsys.readouterr().out
    assert "rows that are not those of the manifest: copy the store again, or prepare it again" in out
    (finding,) = json.loads((tmp_path / "report.json").read_text())["findings"]
    assert finding["severity"] == "error" and len(finding["items"]) == 2
