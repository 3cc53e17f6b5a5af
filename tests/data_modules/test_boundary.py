"""Every external format given random and mutated bytes: a value or a one-line UserError, nothing else; and limits."""

import gzip
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_modules import boundary
from data_modules.checks import check
from data_modules.errors import UserError
from data_modules.images.decode import decode, decode_mask, encoded_size
from data_modules.images.run_lengths import decode_runs
from data_modules.images.source import image_source
from data_modules.index.coco import read_coco
from data_modules.index.exclusion import read_manifest
from data_modules.index.hub import image_bytes, read_columns
from data_modules.index.pair_tables import label_columns_to_numbers, read_pairs
from data_modules.index.tables import read_table
from data_modules.pairs import PairsDataModule
from data_modules.store.store import KEYS, open_store
from data_modules.text.mimic_reports import ReportStore
from data_modules.text.openi_reports import read_openi
from data_modules.text.question_files import read_records


def png() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(out, "PNG")
    return out.getvalue()


def jpeg() -> bytes:
    out, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(out, "JPEG", exif=exif)
    return out.getvalue()


def tiff() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8)).save(out, "TIFF")
    return out.getvalue()


def bmp() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(out, "BMP")
    return out.getvalue()


def webp() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(out, "WEBP", lossless=True)
    return out.getvalue()


def deep_colours() -> bytes:
    return cv2.imencode(".png", np.arange(192, dtype=np.uint16).reshape(8, 8, 3))[1].tobytes()


def dicom(syntax: str = pydicom.uid.ExplicitVRLittleEndian) -> bytes:
    header, out = pydicom.Dataset(), io.BytesIO()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = syntax
    header.SOPClassUID, header.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3"
    header.Rows, header.Columns, header.SamplesPerPixel, header.PhotometricInterpretation = 4, 4, 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
    header.WindowCenter, header.WindowWidth = 9, 5
    header.PixelData = np.arange(16, dtype="<u2").tobytes()
    header.save_as(out, enforce_file_format=True)
    return out.getvalue()


CSV = b'image,text,sick\na.png,"two, parts",1\nb.png,plain,0\n'
LINES = (
    b'{"image": "a.png", "text": ["one", "two"], "patient": 12345678901234567890}\n{"image": "b.png", "text": null}\n'
)
R2GEN = b'{"train": [{"id": "a", "report": "r", "image_path": ["0.png", "1.png"]}], "test": []}'
COCO = json.dumps(
    {
        "images": [{"id": 1, "file_name": "a.png", "width": 9, "height": 9}],
        "categories": [{"id": 1, "name": "x"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 4], "iscrowd": 0}],
    }
).encode()
QUESTIONS = b'[{"qid": 1, "answer": "yes"}]'


def parquet() -> bytes:
    out = io.BytesIO()
    images = [{"bytes": png(), "path": "a"}] * 2
    pd.DataFrame({"image": images, "caption": ["a", "b"], "number": [1.0, None]}).to_parquet(out)
    return out.getvalue()


def archive() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        raw = b'<?xml version="1.0" encoding="utf-8"?><eCitation><uId id="1"/></eCitation>'
        info = tarfile.TarInfo("a/1.xml")
        info.size = len(raw)
        tar.addfile(info, io.BytesIO(raw))
    return out.getvalue()


def reports() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("files/p10/p10000032/s1.txt", " FINAL REPORT\n" * 30)
    return out.getvalue()


def read_hub(path: Path) -> object:
    return read_columns(path.parent, ("caption",)), image_bytes(str(path.parent), "train", 1)


def picture(path: Path) -> object:
    assert decode(path, path).dtype == np.uint8 and decode_mask(path, path).dtype == bool
    return encoded_size(path, path)


MADE_BEFORE = Path(__file__).parent / "store" / "made_before"
SHARD = next(MADE_BEFORE.glob("images/*.arrow"))


def read_store(root: Path) -> object:
    """The rows and the first image of a store of which ``root`` has one file and ``MADE_BEFORE`` the others."""
    for file in filter(Path.is_file, MADE_BEFORE.rglob("*")):
        place = root / file.relative_to(MADE_BEFORE)
        place.parent.mkdir(exist_ok=True)
        if not place.exists():
            place.write_bytes(file.read_bytes())
    check("pairs", root, PairsDataModule(str(root), label_columns=["sick"]), decode_all=True).as_text()
    store = open_store(root)
    assert store is not None
    store.check_options(store.manifest["module"], store.manifest["options"], None)
    return [image_source(reference).read() for reference in store.rows()["image"]]


READERS: dict[str, tuple[str, Callable[[], bytes], Callable[[Path], Any]]] = {
    "png": ("a.png", png, picture),
    "jpeg": ("a.jpg", jpeg, picture),
    "tiff": ("a.tif", tiff, picture),
    "bmp": ("a.bmp", bmp, picture),
    "webp": ("a.webp", webp, picture),
    "16-bit colours": ("a.png", deep_colours, picture),
    "dicom": ("a.dcm", dicom, picture),
    "deflated dicom": ("a.dcm", lambda: dicom(pydicom.uid.DeflatedExplicitVRLittleEndian), picture),
    "csv": ("pairs.csv", lambda: CSV, lambda p: label_columns_to_numbers(p, read_table(p), ["sick"])),
    "csv.gz": ("pairs.csv.gz", lambda: gzip.compress(CSV), read_table),
    "json lines": ("pairs.jsonl", lambda: LINES, lambda p: read_pairs(p.parent, p.name)),
    "json": ("annotation.json", lambda: R2GEN, lambda p: read_pairs(p.parent, p.name)),
    "coco": ("boxes.json", lambda: COCO, read_coco),
    "questions": ("q.json", lambda: QUESTIONS, lambda p: read_records(p, ("qid",), lambda *_: None)),
    "manifest": ("m.json", lambda: b'["1", 2]', lambda p: read_manifest(str(p))),
    "parquet": ("pairs.parquet", parquet, lambda p: read_pairs(p.parent, p.name)),
    "hub": ("train-0.parquet", parquet, read_hub),
    "open-i": ("r.tgz", archive, lambda p: list(read_openi(p))),
    "store manifest": (
        "manifest.json",
        lambda: (MADE_BEFORE / "manifest.json").read_bytes(),
        lambda p: read_store(p.parent),
    ),
    "store rows": ("rows.parquet", lambda: (MADE_BEFORE / "rows.parquet").read_bytes(), lambda p: read_store(p.parent)),
    "store shard": (f"images/{SHARD.name}", SHARD.read_bytes, lambda p: read_store(p.parent.parent)),
    "report zip": ("r.zip", reports, lambda p: ReportStore(p).read("files/p10/p10000032/s1.txt")),
}


def attempt(kind: str, raw: bytes, folder: Path) -> str | None:
    """The message of the UserError, None for a value; every other exception fails the test."""
    name, _, read = READERS[kind]
    place = folder / f"{len(os.listdir(folder))}"  # noqa: PTH208  readers may keep what they opened, by path
    (place / name).parent.mkdir(parents=True)
    (place / name).write_bytes(raw)
    try:
        read(place / name)
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize("kind", READERS)
def test_value_sound_files_are_read(kind: str, tmp_path: Path) -> None:
    assert attempt(kind, READERS[kind][1](), tmp_path) is None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", READERS)
@given(raw=st.binary(max_size=300))
def test_property_random_bytes(kind: str, tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    message = attempt(kind, raw, tmp_path_factory.getbasetemp())
    assert message is None or "\n" not in message


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", READERS)
@given(data=st.data())
def test_property_mutated_bytes(kind: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    raw = bytearray(READERS[kind][1]())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(raw) - 1))
        change = data.draw(st.sampled_from(["set", "cut", "insert", "delete"]))
        if change == "set":
            raw[place] = data.draw(st.integers(0, 255))
        elif change == "cut" and place:
            del raw[place:]
        elif change == "insert":
            raw[place:place] = data.draw(st.binary(max_size=8))
        elif len(raw) > 1:
            del raw[place]
    message = attempt(kind, bytes(raw), tmp_path_factory.getbasetemp())
    assert message is None or "\n" not in message


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=12)


@settings(max_examples=50)
@given(rows=st.lists(st.lists(CELL, min_size=3, max_size=3), max_size=5), separator=st.sampled_from(",;\t"))
def test_property_csv_round_trip(
    rows: list[list[str]], separator: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "round_trip.csv"
    pd.DataFrame(rows, columns=["a", "b", "c"]).to_csv(path, index=False, sep=separator)
    expected = [[cell.strip() for cell in row] for row in rows]
    found = read_table(path).fillna("").to_numpy().tolist()
    assert found == [row for row in expected if any(row)]


@given(row=st.text(alphabet="0123456789 -.e_x", max_size=40))
def test_property_run_lengths(row: str) -> None:
    try:
        mask = decode_runs([row], 4, 4, "a")
    except UserError as error:
        assert "\n" not in str(error)
    else:
        numbers = [] if row.strip() == "-1" else list(map(int, row.split()))
        assert mask.sum() == sum(numbers[1::2])


@pytest.mark.parametrize("row", ["9223372036854775807 9223372036854775807 2 1", f"{'9' * 30} 1", f"{2**64} 4"])
def test_error_run_lengths_beyond_64_bits(row: str) -> None:
    with pytest.raises(UserError, match="expected at most 16"):
        decode_runs([row], 4, 4, "a")


def test_error_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a\n" + b"x" * 90_000))
    (tmp_path / "b.csv").write_bytes(b"a\n" + b"x" * 90_000)
    monkeypatch.setattr(boundary, "LARGEST_FILE", 50_000)
    with pytest.raises(UserError, match=r"a\.csv\.gz: unpacks to more than 50,000 bytes, the limit"):
        read_table(tmp_path / "a.csv.gz")
    with pytest.raises(UserError, match=r"b\.csv: found 90,002 bytes, expected at most 50,000"):
        read_table(tmp_path / "b.csv")
    (tmp_path / "deep.jsonl").write_text('{"image": ' + "[" * 20_000 + "]" * 20_000 + "}")
    with pytest.raises(UserError, match=r"deep\.jsonl: row 1: found broken JSON \(nested too deeply\)"):
        read_pairs(tmp_path, "deep.jsonl")
    with tarfile.open(tmp_path / "bomb.tgz", "w:gz") as tar:
        info = tarfile.TarInfo("zeros.bin")
        info.size = 2 << 20
        tar.addfile(info, io.BytesIO(bytes(info.size)))
    with pytest.raises(UserError, match=r"zeros\.bin has 2,097,152 bytes .* at most 1,048,576 bytes"):
        list(read_openi(tmp_path / "bomb.tgz"))
    with gzip.open(tmp_path / "member.tgz", "wb") as file:
        info = tarfile.TarInfo("large.xml")
        info.size = 4 << 30
        file.write(info.tobuf())
    with pytest.raises(UserError, match=r"large\.xml has 4,294,967,296 bytes .* at most 1,048,576 bytes"):
        list(read_openi(tmp_path / "member.tgz"))
    with gzip.open(tmp_path / "header.tgz", "wb") as file:
        info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2 << 20
        file.write(info.tobuf() + bytes(info.size))
    monkeypatch.setattr("data_modules.text.openi_reports.LARGEST_ARCHIVE", 1 << 20)
    with pytest.raises(UserError, match=r"header\.tgz: unpacks to more than 1,048,576 bytes, the limit"):
        list(read_openi(tmp_path / "header.tgz"))
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(UserError, match=r"found no table|found a folder, pipe or device"):
        read_pairs(tmp_path, "pipe.jsonl")


def test_error_unknown_encoding(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "r.tgz", "w:gz") as tar:
        raw = b'<?xml version="1.0" encoding="klingon"?><a/>'
        info = tarfile.TarInfo("1.xml")
        info.size = len(raw)
        tar.addfile(info, io.BytesIO(raw))
    with pytest.raises(UserError, match=r"r\.tgz: 1\.xml: broken XML"):
        list(read_openi(tmp_path / "r.tgz"))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(key=st.sampled_from(sorted(KEYS)), value=VALUES)
def test_property_odd_fields_of_a_store_manifest(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: Any
) -> None:
    manifest = json.loads((MADE_BEFORE / "manifest.json").read_text()) | {key: value}
    message = attempt("store manifest", json.dumps(manifest).encode(), tmp_path_factory.getbasetemp())
    assert message is None or ("\n" not in message and len(message) < 2000)


def test_error_a_store_manifest_says_what_is_wrong(tmp_path: Path) -> None:
    manifest = json.loads((MADE_BEFORE / "manifest.json").read_text())
    for key, value, line in (
        ("short_side", "64", "found short_side '64', expected a value of type int"),
        ("dropped", {"view": "2"}, "found '2' in dropped, expected type int"),
        ("label_names", ["other"], "rows.parquet: found no column other"),
        ("shards", {}, "found no shard, expected one or more"),
    ):
        message = attempt("store manifest", json.dumps(manifest | {key: value}).encode(), tmp_path)
        assert message is not None and line in message and "copy the store again" in message
