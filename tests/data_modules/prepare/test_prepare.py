"""`prepare`: the same samples as the files, resumable after SIGKILL, atomic, and nothing lost on a full disk."""

import csv
import hashlib
import json
import re
import time
import uuid
from collections import namedtuple
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import forked
import numpy as np
import pytest
import torch
from PIL import Image

from data_modules.corpora import CorporaDataModule
from data_modules.errors import UserError
from data_modules.images.transforms import Augment
from data_modules.mimic_cxr import MIMICCXRDataModule
from data_modules.pairs import PairsDataModule
from data_modules.phantom import write_phantom
from data_modules.prepare import Options, prepare
from data_modules.prepare import content as content_module
from data_modules.store.shards import ShardJob, write_shard
from data_modules.store.store import open_store
from data_modules.text.tokenizer import TextOptions
from mpma_lightning.cli.main import main

TEXT = TextOptions(max_tokens=48, vocab_size=400, min_count=1)
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared_phantom")
    write_phantom(out, patients=30, seed=6, size=128, workers=1, layouts="pairs")
    return out


def content(folder: Path) -> dict[str, str]:
    """Relative path -> SHA-256 of every file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def samples(data: Any) -> list[dict[str, Any]]:
    """A training epoch and the test split."""
    data.setup()
    train = [data._datasets["train"][(1, i)] for i in range(len(data._datasets["train"]))]
    return train + [data._datasets["test"][i] for i in range(len(data._datasets["test"]))]


def mimic(root: Path, store: Path | None = None, **options: Any) -> MIMICCXRDataModule:
    options = {"image_size": 32, "text": TEXT, "num_workers": 0, **options}
    if store is not None:
        return MIMICCXRDataModule(image_root=str(store), report_root=None, **options)
    return MIMICCXRDataModule.from_root(root, **options)


def test_value_raw_store_gives_the_samples_of_the_files(phantom: Path, tmp_path: Path) -> None:
    """Shrunk from 128 to 64 either way, with every key, drop and hash the same."""
    augment = Augment(short_side=64)
    files = mimic(phantom, augment=augment)
    prepare(mimic(phantom), tmp_path / "store", Options(short_side=64, payload="raw"), workers=1, per_shard=16)
    store = mimic(phantom, tmp_path / "store", augment=augment)
    pairs = list(zip(samples(files), samples(store), strict=True))
    assert len(pairs) > 20
    for left, right in pairs:
        assert left.keys() == right.keys()
        for key, value in left.items():
            same = torch.equal(value, right[key]) if isinstance(value, torch.Tensor) else value == right[key]
            assert same or (key == "labels" and torch.equal(value.nan_to_num(9), right[key].nan_to_num(9))), key
    assert files.spec == store.spec and files.spec is not None
    found = open_store(tmp_path / "store")
    assert found is not None and found.manifest["manifest_hash"] == files.spec.manifest_hash
    assert found.manifest["counts"] == files.spec.counts and len(found.manifest["shards"]) > 2


def test_value_jpeg_store_is_near_and_small(phantom: Path, tmp_path: Path) -> None:
    sizes = {}
    for payload in ("jpeg", "raw"):
        prepare(mimic(phantom), tmp_path / payload, Options(short_side=64, payload=payload), workers=1)
        sizes[payload] = sum(path.stat().st_size for path in (tmp_path / payload / "images").iterdir())
    assert sizes["jpeg"] < 0.7 * sizes["raw"]
    raw, jpeg = (samples(mimic(phantom, tmp_path / payload)) for payload in ("raw", "jpeg"))
    error = [(a["image"].float() - b["image"].float()).abs().mean() for a, b in zip(raw, jpeg, strict=True)]
    assert 0 < max(error) < 5


def test_value_small_jpeg_keeps_its_bytes(phantom: Path, tmp_path: Path) -> None:
    """Nothing is shrunk, so that nothing is encoded a second time: bit-equal also as JPEG."""
    prepare(mimic(phantom), tmp_path / "store", workers=1)
    for left, right in zip(samples(mimic(phantom)), samples(mimic(phantom, tmp_path / "store")), strict=True):
        assert torch.equal(left["image"], right["image"])


@pytest.mark.parametrize("payload", ["raw", "jpeg"])
def test_value_gray_stays_gray_colour_colour_and_deep_is_not_black(tmp_path: Path, payload: Any) -> None:
    rng = np.random.default_rng(0)
    deep = rng.integers(0, 4096, (50, 40)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(rng.integers(0, 255, (50, 40), dtype=np.uint8)).save(tmp_path / "gray.png")
    Image.fromarray(rng.integers(0, 255, (50, 40, 3), dtype=np.uint8)).save(tmp_path / "colour.png")
    rows = [
        {"image": f"{name}.png", "text": f"a picture of {name}", "split": "test"} for name in ("deep", "gray", "colour")
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    prepare(PairsDataModule(str(tmp_path)), tmp_path / "store", Options(payload=payload), workers=1)
    for channels in (1, 3):
        options: dict[str, Any] = {"channels": channels, "image_size": 40, "text": TEXT}
        left, right = PairsDataModule(str(tmp_path), **options), PairsDataModule(str(tmp_path / "store"), **options)
        left.setup()
        right.setup()
        for i in range(3):
            a, b = left.samples("test")[i]["image"], right.samples("test")[i]["image"]
            assert a.shape == b.shape == (channels, 40, 40) and a.float().mean() > 60
            assert torch.equal(a, b) if payload == "raw" else (a.float() - b.float()).abs().mean() < 40


def test_value_a_store_remembers_whether_it_is_of_the_phantom(phantom: Path, tmp_path: Path) -> None:
    """Wherever either lies, and among other corpora."""
    other = tmp_path / "other"
    other.mkdir()
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(other / "a.png")
    (other / "pairs.csv").write_text("image,text\na.png,a report of one picture")
    prepare(mimic(phantom), tmp_path / "store", workers=1)
    prepare(PairsDataModule(str(other)), tmp_path / "real", workers=1)
    (tmp_path / "phantom.json").touch()  # a phantom written around them later
    found, real = mimic(tmp_path, tmp_path / "store"), PairsDataModule(str(tmp_path / "real"))
    assert [data.phantom for data in (mimic(phantom), found, real)] == [True, True, False]
    assert CorporaDataModule({"real": real, "found": found}).phantom and not CorporaDataModule({"real": real}).phantom


def test_value_a_drawn_split_follows_the_reader_s_seed(phantom: Path, tmp_path: Path) -> None:
    with (phantom / "layouts/pairs/pairs.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    for row in rows:
        row["image"] = str(phantom / "layouts" / "pairs" / row["image"])
        del row["split"]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    prepare(PairsDataModule(str(tmp_path)), tmp_path / "store", workers=1)
    splits = []
    for root, seed in ((tmp_path, 1), (tmp_path / "store", 1), (tmp_path / "store", 2)):
        data = PairsDataModule(str(root), seed=seed, image_size=32, text=TEXT)
        data.setup()
        assert data.index is not None
        splits.append(dict(zip(data.index["id"], data.index["split"], strict=True)))
    assert splits[0] == splits[1] != splits[2]


def test_error_a_store_of_other_options_is_refused(phantom: Path, tmp_path: Path) -> None:
    prepare(mimic(phantom), tmp_path / "store", Options(short_side=64), workers=1)
    for options, message in (
        (
            {"sections": "impression"},
            "prepared with sections 'findings\\+impression', found data.sections 'impression'",
        ),
        ({"labels": ["Edema"]}, "data.labels"),
        ({"text": TextOptions(min_tokens=9)}, "text.min_tokens"),
        ({"augment": Augment(short_side=96)}, "short side 64, found data.augment.short_side 96"),
    ):
        with pytest.raises(UserError, match=message):
            mimic(phantom, tmp_path / "store", **options).setup()
    with pytest.raises(UserError, match="store of MIMICCXRDataModule, expected one of PairsDataModule"):
        PairsDataModule(str(tmp_path / "store")).setup()
    mimic(phantom, tmp_path / "store", study_sampling="all").setup()
    next((tmp_path / "store" / "images").iterdir()).unlink()
    copy = tmp_path / "copy"
    (tmp_path / "store").rename(copy)
    with pytest.raises(UserError, match="found 0 shards, expected 1"):
        mimic(phantom, copy).setup()


def test_value_progress_in_a_log_file(
    phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(content_module, "EVERY", 0)
    prepare(mimic(phantom), tmp_path / "store", Options(short_side=64), workers=1, per_shard=16)
    said = re.findall(r"preparing images: (\d+) of (\d+), [\d,]+ images/s, 0 min left\n", capsys.readouterr().err)
    done, total = [int(done) for done, _ in said], int(said[0][1])
    assert done == [*range(16, total, 16), total], "a line a shard"


def test_value_dry_run_writes_nothing(phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "store"
    before = content(phantom)
    command = ["prepare", "mimic_cxr", "--root", str(phantom), "--out", str(out), "--short_side", "64"]
    assert main([*command, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "nothing was written" in shown and "short side at most 64" in shown and "MB in 1 shards" in shown
    assert not list(tmp_path.iterdir()) and content(phantom) == before
    assert main([*command, "--workers", "1"]) == 0 and out.is_dir() and content(phantom) == before


def test_error_nothing_is_overwritten(phantom: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    prepare(mimic(phantom), out, Options(short_side=64), workers=1)
    before = content(out)
    with pytest.raises(UserError, match="already exists"):
        prepare(mimic(phantom), out, Options(short_side=48), workers=1)
    assert content(out) == before
    prepare(mimic(phantom), out, Options(short_side=48), workers=1, replace=True)
    assert content(out) != before and [path.name for path in tmp_path.iterdir()] == ["store"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="already exists"):
        prepare(mimic(phantom), other, workers=1, replace=True)
    (tmp_path / "third.part").mkdir()
    (tmp_path / "third.part" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"thesis\.txt"):
        prepare(mimic(phantom), tmp_path / "third", workers=1)


def test_error_too_little_disk_is_said_beforehand(
    phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_modules.prepare.command.shutil.disk_usage", lambda path: Usage(10, 10, 1000))
    with pytest.raises(UserError, match=r"found 0\.00 MB free, expected .* MB for"):
        prepare(mimic(phantom), tmp_path / "store", workers=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_value_full_disk_leaves_the_previous_store_and_goes_on_later(phantom: Path, tmp_path: Path) -> None:
    """The second shard is written to /dev/full, which answers as a full disk does."""
    out, settings = tmp_path / "store", Options(short_side=48)
    prepare(mimic(phantom), out, Options(short_side=64), workers=1)
    before = content(out)
    images = tmp_path / "store.part" / "images"
    count = -(-len(mimic(phantom).read_index()) // 16)
    draft = images / f".data-00001-of-{count:05d}.arrow.{'0' * 12}.partial"
    first = images.with_name("plan.json")

    def fill(job: ShardJob) -> None:
        if job.path.name.startswith("data-00001"):
            draft.symlink_to("/dev/full")
        write_shard(job)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data_modules.prepare.content.write_shard", fill)
        patch.setattr("data_modules.files.uuid.uuid4", lambda: uuid.UUID(int=0))
        with pytest.raises(UserError, match=r"No space left on device.*run the same command again"):
            prepare(mimic(phantom), out, settings, replace=True, per_shard=16, workers=1)
    assert content(out) == before and first.is_file()
    assert (images / f"data-00000-of-{count:05d}.arrow").is_file() and not draft.exists()
    kept = (images / f"data-00000-of-{count:05d}.arrow").stat().st_mtime_ns
    prepare(mimic(phantom), out, settings, replace=True, per_shard=16, workers=1)
    assert (out / "images" / f"data-00000-of-{count:05d}.arrow").stat().st_mtime_ns == kept
    prepare(mimic(phantom), tmp_path / "whole", settings, per_shard=16, workers=1)
    assert content(out) == content(tmp_path / "whole")


def test_error_broken_images_are_listed_then_accepted_or_mended(tmp_path: Path) -> None:
    write_phantom(tmp_path / "phantom", patients=12, seed=7, size=96, workers=1)
    films = sorted((tmp_path / "phantom").rglob("*.jpg"))
    whole = films[0].read_bytes()
    films[0].write_bytes(whole[:900])
    out = tmp_path / "store"
    options: dict[str, Any] = {"views": []}
    with pytest.raises(UserError, match=f"1 broken images.*\\n.*{films[0].name}"):
        prepare(mimic(tmp_path / "phantom", **options), out, workers=1, per_shard=4)
    assert not out.exists() and (tmp_path / "store.part").is_dir()
    accepting = mimic(tmp_path / "phantom", max_missing=0.2, **options)
    prepare(accepting, tmp_path / "without", workers=1, per_shard=4)
    read = mimic(tmp_path, tmp_path / "without", **options)
    read.setup()
    assert read.spec is not None and read.spec.dropped["broken image"] == 1
    assert read.index is not None and films[0].stem not in set(read.index["id"])
    manifest = json.loads((tmp_path / "without" / "manifest.json").read_text())
    assert films[0].name in manifest["broken"][0] and manifest["manifest_hash"] == read.spec.manifest_hash
    films[0].write_bytes(whole)
    prepare(mimic(tmp_path / "phantom", **options), out, workers=1, per_shard=4)
    assert len(samples(mimic(tmp_path, out, study_sampling="all", **options))) > 0


def test_error_too_many_broken_images_in_one_split(tmp_path: Path) -> None:
    """1 of 20 images is little, but it is half of val."""
    rng = np.random.default_rng(0)
    rows = ["image,text,split"]
    for n in range(20):
        Image.fromarray(rng.integers(0, 255, (40, 40), dtype=np.uint8)).save(tmp_path / f"{n}.png")
        rows.append(f"{n}.png,a report of case {n},{'val' if n < 2 else 'train'}")
    (tmp_path / "0.png").write_bytes(b"no picture")
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    with pytest.raises(UserError, match=r"1 broken images \(train 0/18, val 1/2\), expected at most 0.4 of every"):
        prepare(PairsDataModule(str(tmp_path), max_missing=0.4), tmp_path / "store", workers=1)
    assert "val 1" in prepare(PairsDataModule(str(tmp_path), max_missing=0.5), tmp_path / "store", workers=1)


def test_error_an_unfinished_store_of_other_options_is_refused(tmp_path: Path, phantom: Path) -> None:
    part = tmp_path / "store.part"
    part.mkdir()
    (part / "plan.json").write_text(json.dumps({"version": 0}))
    with pytest.raises(UserError, match=r"other options or sources \(version differs\)"):
        prepare(mimic(phantom), tmp_path / "store", workers=1)


def kill_and_restart(phantom: Path, folder: Path, kills: int, seed: int) -> None:
    """Kill `prepare` at ``kills`` random moments of its writing, then let it end; compare with an undisturbed one."""
    options = Options(short_side=96)
    prepare(mimic(phantom), folder / "whole", options, workers=1, per_shard=2)

    def written() -> int:
        data = MIMICCXRDataModule.from_root(phantom)
        prepare(data, folder / "killed", options, workers=2, per_shard=2)
        return 0

    def start() -> BaseProcess:
        return forked.start(1, written)[0]

    def shards() -> int:
        return len(list(folder.glob("killed*/images/*.arrow")))

    rng, reached = np.random.default_rng(seed), []
    for _ in range(kills):
        victim = start()
        target, deadline = shards() + int(rng.integers(0, 3)), time.monotonic() + 600
        while not (folder / "killed.part" / "images").is_dir() or shards() < target:
            assert victim.is_alive() and time.monotonic() < deadline, "ended before it could be killed"
            time.sleep(0.001)
        time.sleep(float(rng.random()) * 0.02)
        victim.kill()
        victim.join()
        assert not (folder / "killed").exists(), "the kill came too late to test anything"
        reached.append(shards())
    assert reached[-1] > 0
    assert forked.end([start()], 300) == [0]
    assert content(folder / "killed") == content(folder / "whole")
    assert not (folder / "killed.part").exists()


def test_value_killed_twice_gives_the_same_bytes(phantom: Path, tmp_path: Path) -> None:
    kill_and_restart(phantom, tmp_path, kills=2, seed=0)


@pytest.mark.full
def test_value_killed_ten_times_gives_the_same_bytes(tmp_path: Path) -> None:
    write_phantom(tmp_path / "phantom", patients=150, seed=8, size=256)
    kill_and_restart(tmp_path / "phantom", tmp_path, kills=10, seed=1)


@pytest.mark.parametrize("moment", ["manifest", "old", "plan"])
def test_value_ended_while_finishing(
    phantom: Path, tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended right after the manifest, after the old store was set aside, or before the last rename."""
    options = Options(short_side=64)
    prepare(mimic(phantom), tmp_path / "whole", options, workers=1)
    out = tmp_path / "store"
    if moment == "old":
        prepare(mimic(phantom), out, Options(short_side=48), workers=1)
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if self.name == "store.part" or (moment == "manifest" and target.name == "store.old"):
            raise KeyboardInterrupt
        return real(self, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if moment == "manifest":
            patch.setattr(
                "data_modules.prepare.command.swap", lambda part, out: (_ for _ in ()).throw(KeyboardInterrupt)
            )
        else:
            patch.setattr(Path, "replace", replace)
        prepare(mimic(phantom), out, options, workers=1, replace=moment == "old")
    assert not out.exists()
    prepare(mimic(phantom), out, options, workers=1, replace=True)
    assert content(out) == content(tmp_path / "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"store", "whole"}
