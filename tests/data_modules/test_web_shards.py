"""Web shards: small tar files with everything they can have wrong, read by place, and the same from a store."""

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_modules.checks import check
from data_modules.errors import UserError
from data_modules.images.source import image_source
from data_modules.images.transforms import Augment
from data_modules.index.tar_members import members
from data_modules.pairs import PairsDataModule
from data_modules.prepare import Options, prepare
from data_modules.store.store import open_store
from data_modules.text.tokenizer import TextOptions
from data_modules.web_shards import WebShardsDataModule

Content = dict[str, bytes | str | dict[str, Any]]


def picture(shade: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((40, 48), shade % 256, np.uint8)).save(out, "PNG")
    return out.getvalue()


def write(path: Path, content: Content, form: int = tarfile.PAX_FORMAT) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, value in content.items():
            raw = (
                value if isinstance(value, bytes) else (value if isinstance(value, str) else json.dumps(value)).encode()
            )
            header = tarfile.TarInfo(name.removesuffix(" again"))
            header.size = len(raw)
            tar.addfile(header, io.BytesIO(raw))


def sound(count: int, first: int = 0) -> Content:
    content: Content = {}
    for n in range(first, first + count):
        content |= {
            f"item{n}.png": picture(n),
            f"item{n}.json": {"pmcid": f"PMC{n}", "license": "CC BY" if n % 2 else "CC BY-NC"},
            f"item{n}.txt": f"A figure of number {n} in this series.",
        }
    return content


def read(root: Path, **options: Any) -> WebShardsDataModule:
    text = TextOptions(max_tokens=32, vocab_size=200, min_tokens=2, min_count=1)
    return WebShardsDataModule(str(root), image_size=32, num_workers=0, text=text, **options)


def test_value_images_and_texts_are_those_of_the_shard(tmp_path: Path) -> None:
    for number, split in enumerate(["train", "val", "test"]):
        write(
            tmp_path / f"{split}-0000.tar",
            sound(3, first=3 * number),
            [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT][number % 2],
        )
    data = read(tmp_path)
    data.setup()
    assert data.spec.counts == {"train": 3, "val": 3, "test": 3} and not data.dropped
    index = data.index
    assert index is not None
    for row in index.to_dict("records"):
        n = int(row["id"].rpartition("item")[2])
        assert row["text"] == f"A figure of number {n} in this series." and row["patient"] == f"PMC{n}"
        assert row["license"] == ("CC BY" if n % 2 else "CC BY-NC")
        assert np.array_equal(image_source(row["image"]).read(), np.full((40, 48), n, np.uint8))
        assert image_source(row["image"]).bytes() == picture(n)


def test_value_several_texts_of_an_image_are_one_study(tmp_path: Path) -> None:
    """Quilt's form: an epoch shows one of them, or all; they are in one split and no negatives of each other."""
    content = sound(12)
    content["item3.json"] = {
        "captions": ["The first text of three.", " ", "The second text of three.", "A third text."]
    }
    del content["item3.txt"]
    write(tmp_path / "a.tar", content)
    data = read(tmp_path, study_sampling="all")
    frame = data.read_index()
    own = frame[frame["study"] == "a/item3"]
    assert own["id"].tolist() == ["a/item3", "a/item3#1", "a/item3#2"] and own["image"].nunique() == 1
    assert own["text"].tolist() == ["The first text of three.", "The second text of three.", "A third text."]
    data.setup()
    assert data.index is not None and data.index.groupby("study")["split"].nunique().max() == 1
    assert data.index.loc[data.index["study"] == "a/item3", "group"].nunique() == 1
    one, every = (read(tmp_path, study_sampling=kind) for kind in ("one", "all"))
    assert one.one_image_per_study and not every.one_image_per_study


def test_value_quilts_look_up_table_is_a_table_of_pairs(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    rows = [",caption,image_path,subset,split"]
    for n in range(4):
        (tmp_path / "images" / f"{n}.png").write_bytes(picture(n))
        rows += [f"{2 * n + k},Text {k} about slide {n},{n}.png,quilt,train" for k in range(2)]
    (tmp_path / "quilt_1M_lookup.csv").write_text("\n".join(rows) + "\n")
    frame = PairsDataModule(str(tmp_path), table="quilt_1M_lookup.csv").read_index()
    assert frame["study"].tolist() == [f"{n}.png" for n in range(4) for _ in range(2)]
    assert frame["text"].tolist() == [f"Text {k} about slide {n}" for n in range(4) for k in range(2)]


def test_value_traps_are_left_out_and_counted(tmp_path: Path) -> None:
    content = sound(300)
    content |= {
        "../escape.png": picture(1),
        "../escape.txt": "A text that leaves the shard.",
        "/root.png": picture(1),
        "alone.png": picture(1),
        "lonely.txt": "A text without its image.",
        "empty.png": picture(1),
        "empty.txt": " \n ",
        "empty.json": {"caption": "", "license": "CC BY"},
        "nolicence.png": picture(1),
        "nolicence.txt": "A text without a licence.",
        "short.png": picture(1),
        "short.txt": "One",
        "broken.png": picture(1),
        "broken.json": '{"caption": ',
        "object.png": picture(1),
        "object.json": {"caption": {"en": "A text"}},
        "latin.png": picture(1),
        "latin.txt": "caf\xe9".encode("latin-1"),
        "item7.txt again": "Another text of the same name.",
        "._item8.txt": "metadata of macOS",
    }
    write(tmp_path / "a.tar", content)
    with tarfile.open(tmp_path / "a.tar", "a") as tar:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    data = read(tmp_path)
    frame = data.read_index()
    assert data.dropped == {
        "member that is a link, or whose name leaves the shard": 4,
        "member of a name that the shard had before": 1,
        "item that cannot be read": 3,
        "no image": 1,
        "no text": 2,
        "text under 2 words": 1,
    }
    assert len(frame) == 301 and frame.loc[frame["study"] == "a/item7", "text"].item() == (
        "A figure of number 7 in this series."
    )
    assert data._notes == ["2 of 302 samples name no licence"]
    found = {finding.kind: finding for finding in check("web_shards", tmp_path, read(tmp_path)).findings}
    listed = found["item that cannot be read"]
    assert listed.severity == "warning" and len(listed.items) == 3
    assert any("broken.json: found broken JSON" in item for item in listed.items)
    assert any("found dict in the place of a text" in item for item in listed.items)
    assert any("latin.txt: found byte 3 that is not UTF-8" in item for item in listed.items)
    assert "CC BY 150, CC BY-NC 150, none 1" in found["licences"].message


def test_error_many_broken_items(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", sound(3) | {f"b{n}.json": "{" for n in range(3)})
    with pytest.raises(UserError, match=r"a\.tar: b0\.json: found broken JSON .* \(3 of 6 such records\)"):
        read(tmp_path).read_index()
    assert check("web_shards", tmp_path, read(tmp_path)).failed


def test_value_licences_are_chosen_and_carried_into_the_store(tmp_path: Path) -> None:
    write(tmp_path / "shards" / "a.tar", sound(30))
    data = read(tmp_path / "shards", licences=["CC BY"], augment=Augment(short_side=32))
    prepare(data, tmp_path / "store", Options(32, "raw"), workers=1)
    store = open_store(tmp_path / "store")
    assert store is not None and store.manifest["licences"] == {"CC BY": 15}
    assert store.manifest["dropped"] == {"licence not in data.licences": 15}
    assert store.table()["license"].tolist() == ["CC BY"] * 15
    with pytest.raises(UserError, match=r"prepared with licences \['CC BY'\], found data\.licences \[\]"):
        read(tmp_path / "store").setup()
    with pytest.raises(UserError, match=r"'CC0', which no sample has; found licences: CC BY-NC \(15\), CC BY \(15\)"):
        read(tmp_path / "shards", licences=["CC0"]).read_index()


def test_value_a_store_has_the_same_samples(tmp_path: Path) -> None:
    write(tmp_path / "shards" / "a.tar", sound(60))
    prepare(read(tmp_path / "shards"), tmp_path / "store", Options(32, "raw"), workers=1)
    shards = read(tmp_path / "shards", augment=Augment(short_side=32))
    store = read(tmp_path / "store")
    for data in (shards, store):
        data.setup()
    assert shards.spec == store.spec
    for split in ("train", "val", "test"):
        left, right = shards.samples(split), store.samples(split)
        assert len(left) == len(right) > 0
        for i in range(0, len(left), 5):
            assert left[i]["id"] == right[i]["id"] and left[i]["text"] == right[i]["text"]
            assert bool((left[i]["image"] == right[i]["image"]).all())


def test_error_a_member_of_ten_gigabytes_that_are_not_there(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", sound(2))
    header = tarfile.TarInfo("huge.png")
    header.size = 10 << 30
    with (tmp_path / "a.tar").open("r+b") as file:
        file.seek(-tarfile.RECORDSIZE, os.SEEK_END)
        while file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            pass
        file.seek(-tarfile.BLOCKSIZE, os.SEEK_CUR)
        file.write(header.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(
        UserError, match=r"a\.tar: member 'huge\.png' has 10,737,418,240 bytes by its header, the file ends"
    ):
        read(tmp_path).read_index()
    write(tmp_path / "b.tar", sound(3, first=10))
    result = check("web_shards", tmp_path, read(tmp_path))
    broken = [finding for finding in result.findings if finding.kind == "broken shard"]
    assert result.failed and "huge.png" in broken[0].items[0] and result.counts["items"] == 3


def test_error_a_member_larger_than_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_modules.index.web_items.LARGEST_IMAGE", 50)
    monkeypatch.setattr("data_modules.index.web_items.LARGEST_TEXT", 60)
    content: Content = {"a.png": picture(3), "a.txt": "A text.", "b.txt": "x" * 61, "b.png": b"1"}
    write(tmp_path / "a.tar", content)
    with pytest.raises(UserError, match=r"a\.png has \d+ bytes, expected at most 50 \(2 of 2 such records\)"):
        read(tmp_path).read_index()


@pytest.mark.parametrize("lost", [1, 600, 3 * tarfile.BLOCKSIZE, 20 * tarfile.BLOCKSIZE])
def test_error_a_download_that_stopped(lost: int, tmp_path: Path) -> None:
    """Wherever it stopped: in the mark of the end, in a header, in a member."""
    write(tmp_path / "a.tar", sound(9))
    with tarfile.open(tmp_path / "a.tar") as tar:
        end = tar.getmembers()[-1].offset_data + tarfile.BLOCKSIZE
    with (tmp_path / "a.tar").open("r+b") as file:
        file.truncate(end + tarfile.BLOCKSIZE - lost)
    with pytest.raises(UserError, match=r"a\.tar: .*download it again"):
        read(tmp_path).read_index()


@pytest.mark.parametrize("fault", ["text", "header", "endless header", "negative"])
def test_error_no_tar_file(fault: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write(path, sound(1))
    whole = bytearray(path.read_bytes())
    if fault == "text":
        whole = bytearray(b"<html>sign in</html>" * 100)
    elif fault == "header":
        second = tarfile.BLOCKSIZE * 2
        whole[second : second + 20] = b"?" * 20
    else:
        header = tarfile.TarInfo("x.png")
        if fault == "negative":
            header.pax_headers = {"size": "-1024"}
            block = header.tobuf(tarfile.PAX_FORMAT)
        else:
            header.type, header.size = tarfile.XHDTYPE, 1 << 33
            block = header.tobuf(tarfile.GNU_FORMAT)
        whole = bytearray(block + whole)
    path.write_bytes(whole)
    with pytest.raises(UserError, match=r"a\.tar: .*download it again"):
        list(members(path))


def test_error_shards_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"found no \.tar file; set data\.root"):
        read(tmp_path).read_index()
    (tmp_path / "a.tar.gz").write_bytes(b"")
    with pytest.raises(UserError, match=r"found no \.tar file, but a\.tar\.gz, .* unpack it: gunzip"):
        read(tmp_path).read_index()
    write(tmp_path / "train-0.tar", sound(2))
    write(tmp_path / "more" / "0001.tar", sound(2))
    with pytest.raises(UserError, match=r"shards named by split and more/0001\.tar, which names none"):
        read(tmp_path).read_index()


def test_value_own_fields(tmp_path: Path) -> None:
    told = {"words": "The words of the figure.", "terms": "mine", "source": 12}
    content: Content = {f"x/i{n}.{ending}": picture(n) for n in range(2) for ending in ("v1.png", "png")}
    write(tmp_path / "a.tar", content | {f"x/i{n}.json": told for n in range(2)})
    data = read(tmp_path, text_field="words", licence_field="terms", article_field="source")
    frame = data.read_index()
    assert frame["text"].unique().tolist() == ["The words of the figure."] and frame["id"].tolist() == [
        "a/x/i0",
        "a/x/i1",
    ]
    assert frame["license"].unique().tolist() == ["mine"] and frame["patient"].unique().tolist() == ["12"]
