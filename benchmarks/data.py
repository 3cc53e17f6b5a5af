"""How fast is data read? Samples a second and core from full-size JPEGs and prepared stores; a 377,110-row index.

    python benchmarks/data.py [--images 24] [--rows 377110] [--workers 4]

Images are phantom films at 2544 x 3056 pixels, gray, JPEG quality 95, as MIMIC-CXR-JPG has them. One process and one
thread read them in turn, in every pipeline: `plain` is what others do (PIL open -> RandomResizedCrop -> tensor); the
rest is the training data set of this package at 224 pixels, without text. Figures are the best of the repeats and count
processor time, so that other work on the machine matters little.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torchvision import transforms

from data_modules.images.source import image_source
from data_modules.images.transforms import Augment
from data_modules.index.labels import CHEXPERT
from data_modules.mimic_cxr import MIMICCXRDataModule
from data_modules.phantom import write_phantom
from data_modules.prepare import Options, prepare
from data_modules.text.tokenizer import TextOptions, Tokenizer

HEIGHT, WIDTH = 3056, 2544
GRAIN = 3.0
SHORT_SIDES, CROP = (768, 320), 224
SCALE = (0.6, 1.0)
SECONDS = 2.0


def enlarge(root: Path, count: int, seed: int = 0) -> list[Path]:
    """Make ``count`` films of the phantom as large as real ones, with the grain of a detector; delete the others."""
    rng = np.random.default_rng(seed)
    films = sorted((root / "mimic-cxr-jpg").rglob("*.jpg"))
    for film in films[:count]:
        small = cv2.imread(str(film), cv2.IMREAD_GRAYSCALE)
        assert small is not None, film
        large = cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC).astype(np.float32)
        large += cv2.GaussianBlur(rng.standard_normal(large.shape, dtype=np.float32), (3, 3), 0) * GRAIN
        Image.fromarray(large.clip(0, 255).astype(np.uint8)).save(film, quality=95)
    for film in films[count:]:
        film.unlink()
    return films[:count]


def rate(read: Callable[[int], object], count: int, repeats: int) -> float:
    """Samples a second of processor time: the best of ``repeats`` runs of ``SECONDS``, after one pass to warm up."""
    for i in range(count):
        read(i)
    best = 0.0
    for _ in range(repeats):
        start, done = time.process_time(), 0
        while (spent := time.process_time() - start) < SECONDS:
            read(done % count)
            done += 1
        best = max(best, done / spent)
    return best


def throughput(folder: Path, count: int, repeats: int) -> None:
    """Print samples a second of each pipeline, and its ratio to the plain one."""
    write_phantom(folder / "phantom", patients=count, seed=0, size=512)
    jpg = folder / "phantom" / "mimic-cxr-jpg"
    films = enlarge(folder / "phantom", count)
    plain = transforms.Compose([transforms.RandomResizedCrop(CROP, scale=SCALE), transforms.ToTensor()])
    sets = {"files": _train(jpg, None), f"files, first to {SHORT_SIDES[0]}": _train(jpg, SHORT_SIDES[0])}
    sizes = {}
    for side in SHORT_SIDES:
        for payload in ("raw", "jpeg"):
            store = folder / f"{payload}{side}"
            data = MIMICCXRDataModule(str(jpg), views=[], labels=[], max_missing=1.0)
            prepare(data, store, Options(side, payload))  # type: ignore[arg-type]
            sets[f"store {side}, {payload}"] = _train(store, None)
            sizes[f"store {side}, {payload}"] = sum(p.stat().st_size for p in (store / "images").iterdir()) / len(films)
    sizes["files"] = sum(film.stat().st_size for film in films) / len(films)
    print(f"{len(films)} files of {HEIGHT} x {WIDTH}; crop {CROP}, scale {SCALE}")
    bare = rate(lambda i: plain(Image.open(films[i])), len(films), repeats)
    print(f"{'':<22}{'samples/s a core':>18}{'to plain':>10}{'reading alone, ms':>20}{'kB an image':>14}")
    print(f"{'plain':<22}{bare:>18.1f}{1:>10.1f}{'':>20}{sizes['files'] / 1e3:>14.0f}")
    for name, dataset in sets.items():
        whole = rate(lambda i, chosen=dataset: chosen[(1, i)], len(dataset), repeats)  # type: ignore[misc]
        paths, side = dataset.table.column("image").to_pylist(), dataset.transform.augment.short_side
        read = rate(lambda i, p=paths, s=side: image_source(p[i]).read(1, s), len(paths), repeats)  # type: ignore[misc]
        size = f"{sizes[name] / 1e3:.0f}" if name in sizes else ""
        print(f"{name:<22}{whole:>18.1f}{whole / bare:>10.1f}{1e3 / read:>20.3f}{size:>14}")


def _train(root: Path, short_side: int | None) -> Any:
    """The training images alone, every view."""
    augment = Augment(crop_scale=SCALE, short_side=short_side)
    data = MIMICCXRDataModule(str(root), views=[], labels=[], study_sampling="all", image_size=CROP,
                              max_missing=1.0, augment=augment)  # fmt: skip
    data.setup()
    dataset = data._datasets["train"]
    dataset.sized = False  # as in pre-training, which puts nothing back on the original
    return dataset


def scale(folder: Path, rows: int, workers: int) -> None:
    """Print how long an index of ``rows`` takes, and what each worker holds in memory."""
    store = folder / f"raw{SHORT_SIDES[-1]}"
    rng = np.random.default_rng(0)
    known = pq.read_table(store / "rows.parquet").to_pandas()
    words = np.array([f"word{i}" for i in range(3000)])
    studies = np.arange(rows) * 227_835 // 377_110
    texts = [" ".join(words[rng.integers(0, len(words), 50)]) for _ in range(int(studies[-1]) + 1)]
    patients = studies * 65_379 // 227_835
    frame = pd.DataFrame(
        {
            "id": [f"{i:08x}-{i * 7919 % 2**32:08x}-00000000-00000000-00000000" for i in range(rows)],
            "study": [f"5{n:07d}" for n in studies],
            "patient": [f"1{n:07d}" for n in patients],
            "split": np.where(patients % 100 == 0, "validate", np.where(patients % 100 == 1, "test", "train")),
            "image": rng.integers(0, known["image"].max() + 1, rows),
            "text": [texts[n] for n in studies],
            **{name: rng.integers(0, 2, rows).astype("float32") for name in CHEXPERT},
        }
    )
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), store / "rows.parquet")
    manifest = store / "manifest.json"
    names = str(list(CHEXPERT)).replace("'", '"')
    manifest.write_text(manifest.read_text().replace('"label_names": []', f'"label_names": {names}').replace(
        '"labels": []', f'"labels": {names}'))  # fmt: skip
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(Tokenizer.train(texts[:2000]).to_json())
    del frame, texts
    data = MIMICCXRDataModule(str(store), views=[], max_missing=1.0, num_workers=workers, batch_size=64,
                              image_size=CROP, text=TextOptions(tokenizer=str(tokenizer)))  # fmt: skip
    start = time.perf_counter()
    data.setup()
    read = time.perf_counter() - start
    loader = iter(data.train_dataloader())
    next(loader)
    first = time.perf_counter() - start
    for _ in range(10):
        next(loader)
    pids = [int(p) for p in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()]
    print(f"index of {rows:,} rows: set up in {read:.1f} s, first batch of 64 after {first:.1f} s")
    print(f"{'process':<12}{'resident':>12}{'its own':>12}  MB (its own: not shared with another process)")
    for name, pid in [("main", os.getpid()), *((f"worker {i}", pid) for i, pid in enumerate(pids[:workers]))]:
        resident, private = memory(pid)
        print(f"{name:<12}{resident:>12.0f}{private:>12.0f}")


def memory(pid: int) -> tuple[float, float]:
    """Resident and private (USS) memory in MB."""
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:] if ":" in line
    )
    kilobytes = {name: int(value.split()[0]) for name, value in fields.items()}
    return kilobytes["Rss"] / 1e3, (kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=377_110)
    parser.add_argument("--workers", type=int, default=4)
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        throughput(Path(folder), given.images, given.repeats)
        scale(Path(folder), given.rows, given.workers)


if __name__ == "__main__":
    main()
