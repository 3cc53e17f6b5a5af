"""Where an image lies: files, rows of Arrow tables, rows of prepared stores; one place reads and writes references."""

import io
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_modules.errors import UserError
from data_modules.images.source import (
    ImageFile,
    StoredImage,
    TableImage,
    image_source,
    stored_references,
    stored_rows,
    table_references,
)
from data_modules.pairs import PairsDataModule
from data_modules.prepare import Options, prepare
from data_modules.store.store import open_store

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)
NAMES = st.text(st.characters(exclude_characters=":#\0", exclude_categories=["Cs"]), min_size=1)


@pytest.fixture
def png() -> bytes:
    out = io.BytesIO()
    Image.fromarray(PIXELS).save(out, "PNG")
    return out.getvalue()


def test_value_file(tmp_path: Path, png: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png)
    source = image_source(path)
    assert source == ImageFile(str(path)) and str(source) == str(path) and source.exists()
    assert (source.read() == PIXELS).all() and source.read(3).shape == (40, 50, 3)
    assert source.read(short_side=20).shape == (20, 25) and source.size() == (50, 40) and source.bytes() == png
    absent = image_source(tmp_path / "b.png")
    assert not absent.exists()
    for ask in (absent.read, absent.size):
        with pytest.raises(UserError, match=r"b\.png: image not found"):
            ask()


def test_value_row_of_a_table(tmp_path: Path, png: bytes) -> None:
    table = datasets.Dataset.from_dict({"image": [{"bytes": b"no image", "path": None}, {"bytes": png, "path": None}]})
    datasets.DatasetDict({"train": table}).save_to_disk(tmp_path)
    references = table_references(tmp_path, pd.Series(["train", "train"]))
    assert references == [f"{tmp_path}::train::0", f"{tmp_path}::train::1"]
    source = image_source(references[1])
    assert source.exists() and source.bytes() == png and source.size() == (50, 40) and (source.read() == PIXELS).all()
    with pytest.raises(UserError, match=r"::train::0: not an image that Pillow can read"):
        image_source(references[0]).read()


@pytest.mark.parametrize("payload", ["jpeg", "raw"])
def test_value_row_of_a_store(tmp_path: Path, png: bytes, payload: str) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(png)
    (tmp_path / "pairs.csv").write_text("image,text,split\na.png,the heart is normal,train\n")
    prepare(PairsDataModule(str(tmp_path)), tmp_path / "store", Options(32, payload), workers=1)  # type: ignore[arg-type]
    store = open_store(tmp_path / "store")
    assert store is not None
    reference = store.rows()["image"].iloc[0]
    assert reference == f"prepared:{tmp_path}/store#0"
    source = image_source(reference)
    assert source.exists() and source.size() == (50, 40) and source.read().shape == (32, 40)
    if payload == "raw":
        assert (source.read() == ImageFile(str(tmp_path / "images" / "a.png")).read(short_side=32)).all()
        with pytest.raises(UserError, match="image 0 is stored as pixels, expected a JPEG"):
            source.bytes()
    else:
        assert source.bytes().startswith(b"\xff\xd8\xff")


@given(folder=NAMES, split=NAMES, row=st.integers(0, 2**40))
def test_value_references_are_read_back(folder: str, split: str, row: int) -> None:
    for source in (TableImage(folder, split, row), StoredImage(folder, row), ImageFile(folder)):
        assert image_source(str(source)) == source
    numbers = pd.Series([row, 0], index=[3, 5])
    assert stored_rows(stored_references(Path(folder), numbers)).equals(numbers)


def test_value_a_colon_in_a_file_name_is_no_reference() -> None:
    for name in ("a::b::c.png", "x#3.png", "prepared:a.png"):
        assert image_source(name) == ImageFile(name)
