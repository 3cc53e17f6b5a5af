"""Prepares a data set once: texts extracted, images shrunk, everything in one store; resumable and atomic."""

import fcntl
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import track

from data_modules.base import DataModule
from data_modules.errors import UserError
from data_modules.images.annotations import written_out
from data_modules.images.shards import IMAGES, MANIFEST, Payload
from data_modules.index.manifest import manifest_hash
from data_modules.index.splits import SPLITS, has_splits
from data_modules.store.shards import ShardJob, checksum, read_and_encode, write_shards
from data_modules.store.store import ROWS, VERSION, seal

SHORT_SIDE = 768
"""Crops of 448 from the usual scales are then rarely enlarged."""
PER_SHARD = 1024
SAMPLED = 24
"""Images encoded beforehand, to know the size of the store."""
SPARE = 1.05
_PLAN = "plan.json"


@dataclass(frozen=True)
class Options:
    """How images are stored.

    Args:
        short_side: larger images are shrunk to it.
        payload: "jpeg" is small, "raw" (uint8 pixels) is read without decoding and bit-equal to reading the files.
        quality: of JPEG.
    """

    short_side: int = SHORT_SIDE
    payload: Payload = "jpeg"
    quality: int = 90


@dataclass
class Plan:
    """All that a run will do, known before anything is written."""

    rows: pd.DataFrame
    files: list[str]
    manifest: dict[str, Any]
    shards: dict[str, slice]
    bytes: int

    def describe(self) -> str:
        """One line a fact."""
        counts = ", ".join(f"{split} {n:,}" for split, n in self.manifest["counts"].items())
        dropped = ", ".join(f"{reason} {n:,}" for reason, n in self.manifest["dropped"].items()) or "nothing"
        options = self.manifest["encoding"]
        return (
            f"{self.manifest['module']}: {counts}; dropped: {dropped}\n"
            f"{len(self.files):,} images, short side at most {self.manifest['short_side']}, {options['payload']}: "
            f"about {_gigabytes(self.bytes)} in {len(self.shards)} shards"
        )


def prepare(
    data: DataModule,
    out: Path,
    options: Options | None = None,
    workers: int | None = None,
    dry_run: bool = False,
    replace: bool = False,
    per_shard: int = PER_SHARD,
) -> str:
    """Write the store ``out`` of all samples of ``data`` and return what was done; the same call again continues.

    Everything is written into ``<out>.part`` and renamed at the end, so that ``out`` is a whole store or is not there.

    Args:
        data: its arguments choose sections, views, labels, ``max_missing``, ...
        out: a new folder.
        options: of the images.
        workers: processes; None = one per available core.
        dry_run: report what would be written, and write nothing.
        replace: a finished store at ``out`` stays until the new one is whole, and is then deleted.
        per_shard: images a file.

    Raises:
        UserError: what reading ``data`` raises; ``out`` or ``<out>.part`` holds something else; too little disk; a
            split with more broken images than ``data.max_missing`` allows.
    """
    options = options or Options()
    part = out.with_name(f"{out.name}.part")
    _check(out, options, replace)
    plan = _plan(data, options, per_shard)
    done = _bytes_below(part)
    free = shutil.disk_usage(_existing(part)).free
    if plan.bytes * SPARE - done > free:
        raise UserError(
            f"{out}: found {_gigabytes(free)} free, expected {_gigabytes(int(plan.bytes * SPARE) - done)} for "
            f"{len(plan.files):,} images; free some, choose another --out, or a smaller --short_side"
        )
    if dry_run:
        return f"{plan.describe()}\n{_gigabytes(free)} free; nothing was written (dry run)"
    with _locked(part):
        try:
            if not _finished(part, plan):
                _start(part, plan)
                _write_images(part, plan, options, workers)
                _finish(part, plan, data, _accept_broken(part, plan, data))
            _swap(part, out)
        except OSError as error:
            if error.errno is None:
                raise
            raise UserError(
                f"{part}: writing stopped ({error.strerror}); make room and run the same command again: it continues"
            ) from None
    return f"{plan.describe()}\n{out}: {_gigabytes(_bytes_below(out))}, manifest {plan.manifest['manifest_hash'][:12]}"


def _check(out: Path, options: Options, replace: bool) -> None:
    if options.payload not in ("jpeg", "raw"):
        raise UserError(f"found --payload {options.payload}, expected jpeg or raw")
    if options.short_side < 32 or not 1 <= options.quality <= 100:
        raise UserError(f"found {options}, expected --short_side of 32 or more and --quality from 1 to 100")
    if out.exists() and not (replace and (out / MANIFEST).is_file()):
        remedy = "delete it, choose another --out, or replace a finished store with --replace"
        raise UserError(f"{out}: already exists, expected a new folder; {remedy}")


def _plan(data: DataModule, options: Options, per_shard: int) -> Plan:
    if data.label_fraction != 1:
        raise UserError(f"found --data.label_fraction {data.label_fraction:g}, expected 1: it is taken on reading")
    if data.split_file is not None:
        raise UserError(f"found --data.split_file {data.split_file}, expected none: it is taken on reading")
    rows = data.read_index().reset_index(drop=True)
    checked = data.check_rows(rows.copy())
    labels = data.label_names
    drawn = not has_splits(rows)
    rows = rows.set_index("id", drop=False).loc[checked["id"]].reset_index(drop=True).assign(split=checked["split"])
    manifest: dict[str, Any] = {
        "version": VERSION,
        "module": type(data).__name__,
        "phantom": data.phantom,
        "options": json.loads(json.dumps(data.index_options(), default=str)),
        "short_side": options.short_side,
        "encoding": {"payload": options.payload, "quality": options.quality},
        "label_names": labels,
        "exclusive_classes": data.exclusive_classes,
        "box_classes": data.box_classes,
        "notes": list(data._notes),
        "excluded": dict(data._excluded),
        "seed": data.seed,
        "drawn": drawn,
        "counts": {split: int((checked["split"] == split).sum()) for split in SPLITS},
        "dropped": dict(sorted(data.dropped.items())),
        "manifest_hash": manifest_hash(checked, labels),
        "split_hashes": {split: manifest_hash(checked[checked["split"] == split], labels) for split in SPLITS},
        "versions": _versions(),
    }
    if "license" in rows:
        manifest["licences"] = rows["license"].fillna("").value_counts().sort_index().to_dict()
    if "image" not in rows:
        return Plan(rows, [], manifest, {}, 0)
    numbers, files = pd.factorize(rows["image"])
    rows["image"] = numbers.astype("int64")
    count = -(-len(files) // per_shard)
    shards = {
        f"data-{k:05d}-of-{count:05d}.arrow": slice(k * per_shard, min((k + 1) * per_shard, len(files)))
        for k in range(count)
    }
    return Plan(rows, list(files), manifest, shards, _estimate(list(files), options))


def _estimate(files: list[str], options: Options) -> int:
    sample = files[:: max(len(files) // SAMPLED, 1)]
    arguments = (options.short_side, options.payload, options.quality)
    payloads = (read_and_encode(file, file, *arguments).get("payload") for file in sample)
    sizes = [len(payload) for payload in payloads if isinstance(payload, bytes)]
    return sum(sizes) * len(files) // max(len(sizes), 1)


def _finished(part: Path, plan: Plan) -> bool:
    """Whether an earlier call was ended after the manifest was written, which is the last thing to write."""
    path = part / MANIFEST
    if not path.is_file():
        return False
    made, keys = json.loads(path.read_text()), ("version", "module", "options", "short_side", "encoding", "versions")
    if any(made[key] != plan.manifest[key] for key in keys):
        raise UserError(f"{part}: found a finished store of other options, expected that of this command; move it away")
    return True


def _start(part: Path, plan: Plan) -> None:
    """Note the plan in a new folder, or compare it with the one that an earlier call noted."""
    names = hashlib.sha256("\n".join(plan.files).encode()).hexdigest()
    noted = {**plan.manifest, "files": names, "shards": list(plan.shards)}
    path = part / _PLAN
    if path.is_file():
        found = json.loads(path.read_text())
        if found != noted:
            key = next(key for key in noted if found.get(key) != noted[key])
            raise UserError(
                f"{part}: found an unfinished store of other options or sources ({key} differs); delete {part} to "
                "begin again, or run the earlier command to finish it"
            )
        return
    if foreign := [path.name for path in part.iterdir() if path.name not in (_LOCK, f"{_PLAN}.part")]:
        raise UserError(f"{part}: found {foreign[0]}, expected an unfinished store; move it away")
    _write(path, json.dumps(noted))


def _write_images(part: Path, plan: Plan, options: Options, workers: int | None) -> None:
    folder = part / IMAGES
    folder.mkdir(exist_ok=True)
    for draft in folder.glob("*.part"):  # of a killed worker
        draft.unlink()
    base = os.path.commonpath([Path(file).parent for file in plan.files]) if plan.files else ""
    jobs = [
        ShardJob(
            folder / name,
            plan.files[part_of],
            [os.path.relpath(file, base) for file in plan.files[part_of]],
            options.short_side,
            options.payload,
            options.quality,
        )
        for name, part_of in plan.shards.items()
        if not (folder / name).is_file()
    ]
    for _ in track(write_shards(jobs, workers or len(os.sched_getaffinity(0))), "preparing images", total=len(jobs)):
        pass


def _accept_broken(part: Path, plan: Plan, data: DataModule) -> dict[int, str]:
    """Broken images by number; UserError, and their shards are removed, when they are too many."""
    broken: dict[int, str] = {}
    for name, part_of in plan.shards.items():
        with pa.memory_map(str(part / IMAGES / name)) as source:
            reasons = pa.ipc.open_stream(source).read_all().column("broken")
        broken |= {part_of.start + i: reason.as_py() for i, reason in enumerate(reasons) if reason.is_valid}
    if not broken:
        return broken
    lost = plan.rows["image"].isin(list(broken)).groupby(plan.rows["split"]).agg(["sum", "count"])
    if (lost["sum"] / lost["count"]).max() <= data.max_missing:
        return broken
    for name, part_of in plan.shards.items():
        if any(part_of.start <= number < part_of.stop for number in broken):
            (part / IMAGES / name).unlink()
    listed = "\n  ".join(list(broken.values())[:10])
    more = f"\n  and {len(broken) - 10:,} more: `check --all` lists them" if len(broken) > 10 else ""
    counts = ", ".join(f"{split} {row['sum']:,}/{row['count']:,}" for split, row in lost.iterrows())
    raise UserError(
        f"found {len(broken):,} broken images ({counts}), expected at most {data.max_missing:g} of every split; mend "
        "them and run the same command again, which continues, or accept their share with --data.max_missing:\n"
        f"  {listed}{more}"
    )


def _finish(part: Path, plan: Plan, data: DataModule, broken: dict[int, str]) -> None:
    rows = plan.rows
    if broken:
        lost = rows["image"].isin(list(broken))
        rows = rows[~lost].reset_index(drop=True)
        data.drop("broken image", int(lost.sum()))
        checked = data.check_rows(rows.drop(columns="image"))
        plan.manifest |= {
            "counts": {split: int((checked["split"] == split).sum()) for split in SPLITS},
            "dropped": dict(sorted(data.dropped.items())),
            "manifest_hash": manifest_hash(checked, data.label_names),
            "split_hashes": {s: manifest_hash(checked[checked["split"] == s], data.label_names) for s in SPLITS},
            "broken": sorted(broken.values()),
        }
    if "mask" in rows:
        rows["mask"] = _written_out_masks(part, plan, rows)
    draft = part / f"{ROWS}.part"
    pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), draft)
    draft.replace(part / ROWS)
    shards = {}
    sources = hashlib.sha256()
    for name in plan.shards:
        path = part / IMAGES / name
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_stream(source).read_all().select(["file", "sha256"])
            for file, digest in zip(table["file"].to_pylist(), table["sha256"].to_pylist(), strict=True):
                sources.update(f"{file}\x1f{digest}\x1e".encode())
        shards[name] = checksum(path).read_text()
    rows_digest = hashlib.sha256((part / ROWS).read_bytes()).hexdigest()
    plan.manifest |= {"source_hash": sources.hexdigest(), "rows_sha256": rows_digest, "shards": shards}
    plan.manifest["seal"] = seal(plan.manifest)
    _write(part / MANIFEST, json.dumps(plan.manifest, indent=1))


def _written_out_masks(part: Path, plan: Plan, rows: pd.DataFrame) -> list[str]:
    """Run lengths in place of the mask files, so that a store needs nothing but itself."""
    tables = []
    for name in plan.shards:
        with pa.memory_map(str(part / IMAGES / name)) as source:
            tables.append(pa.ipc.open_stream(source).read_all().select(["source_width", "source_height"]))
    sizes = list(zip(*pa.concat_tables(tables).to_pydict().values(), strict=True))
    records = rows[["mask"]].assign(image=[plan.files[number] for number in rows["image"]]).to_dict("records")
    pairs = zip(records, rows["image"], strict=True)
    return [
        written_out(record, sizes[number])  # type: ignore[arg-type]
        for record, number in track(pairs, "reading masks", total=len(rows), disable=len(rows) < 500)
    ]


def _swap(part: Path, out: Path) -> None:
    """The finished folder takes the place of ``out``."""
    for path in [part / _PLAN, *(part / IMAGES).glob("*.sha256")]:
        path.unlink(missing_ok=True)
    old = out.with_name(f"{out.name}.old")
    if out.exists():
        shutil.rmtree(old, ignore_errors=True)
        out.replace(old)
    (part / _LOCK).unlink()
    part.replace(out)
    shutil.rmtree(old, ignore_errors=True)


_LOCK = "lock"


@contextmanager
def _locked(part: Path) -> Iterator[None]:
    """One process at a time; the lock goes with the process, however it ends."""
    part.mkdir(parents=True, exist_ok=True)
    with (part / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"{part}: another process is preparing this store; wait for it") from None
        yield


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f"{path.name}.part")
    draft.write_text(text + "\n")
    draft.replace(path)


def _versions() -> dict[str, str]:
    names = ("mpma-lightning", "pillow", "opencv-python-headless", "pyarrow", "datasets", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.2f} MB"
