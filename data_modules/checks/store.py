"""Checks of a prepared store: do manifest, rows and images agree, and is every image one?"""

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image, UnidentifiedImageError
from rich.progress import track

from data_modules.base import DataModule
from data_modules.boundary import boundary, reason
from data_modules.checks.images import THUMBNAIL, check_duplicates, thumbnail
from data_modules.checks.result import CheckResult
from data_modules.errors import UserError
from data_modules.images.decode import shrunk_size
from data_modules.images.shards import COPY, IMAGES, MANIFEST, read_shard
from data_modules.images.source import image_source, stored_references
from data_modules.index.hashing import stable_hash
from data_modules.index.manifest import manifest_hash
from data_modules.index.views import image_columns
from data_modules.machine import Each, cores, in_threads
from data_modules.store.store import NO_VIEW, ROWS, Store, read_manifest, seal

HASHES = ["sha256", "phash"]


def is_store(folder: Path) -> bool:
    """Whether ``folder`` is a prepared store, also one that lost its manifest, its rows or its images."""
    parts = (folder / MANIFEST).is_file(), (folder / ROWS).is_file(), any((folder / IMAGES).glob("*.arrow"))
    return sum(parts) >= 2


def check_store(
    folder: Path, data: DataModule, result: CheckResult, sample: int | None, each: Each = in_threads
) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
    """Add what is wrong with a store.

    Every file is hashed, shards by ``each``, and every recorded picture hash compared; ``sample`` images (None: all),
    chosen by a hash of their places, are decoded, and all of a shard whose hash is not the recorded one.

    Returns:
        The rows as ``read_index`` gives them, without ``image`` where shards cannot be read, or None when there is
        nothing to go on with; and the pictures for :func:`check_pictures`, None where there are none.
    """
    store = _open(folder, data, result)
    frame = None if store is None else _rows(store, result)
    if store is None or frame is None or "image" not in frame:
        return frame, None
    shards, altered = _shards(store, result, each)
    if shards is None:
        return frame.drop(columns="image"), None
    frame = _in_range(frame, sum(len(shard) for shard in shards.values()), result)
    columns = image_columns(frame)
    numbers = np.unique(frame[columns].to_numpy(np.int64))
    numbers = numbers[numbers != NO_VIEW]
    _check_payloads(store, shards, numbers, altered, sample, result)
    table = pa.concat_tables([shard.select(["file", *HASHES]) for shard in shards.values()])
    pictures = table.to_pandas(integer_object_nulls=True)  # floats would not hold a hash
    pictures.index = pd.Index(stored_references(folder, pictures.index.to_series()))
    references = {c: stored_references(folder, frame[c]).where(frame[c] != NO_VIEW, None) for c in columns}
    return frame.assign(**references), pictures


def check_pictures(frame: pd.DataFrame, pictures: pd.DataFrame, result: CheckResult) -> pd.DataFrame:
    """Add which pictures of a store are equal or nearly so.

    Args:
        frame: rows of the store.
        pictures: file, sha256 and phash by reference.
        result: to add to.

    Returns:
        One row an image that ``frame`` names: image (the reference), file, split, patient, sha256, phash.
    """
    files = frame.drop_duplicates("image")[["image", "split", "patient"]].join(pictures, on="image")
    shown = cache(_thumbnail)
    check_duplicates(files, result, lambda record: shown(record["image"]))
    return files


def _open(folder: Path, data: DataModule, result: CheckResult) -> Store | None:
    path = folder / MANIFEST
    with result.catching("manifest"):
        manifest = read_manifest(path)
        if (found := seal(manifest)) != manifest["seal"]:
            message = f"found content of SHA-256 {found}, expected {manifest['seal']}: it was edited"
            result.add("error", "manifest", f"{path}: {message}; {COPY}")
        expected, module = type(data).__name__, manifest["module"]
        if module != expected:
            message = f"found a store of {module}, expected one of {expected}; name the data set it was made of"
            result.add("error", "manifest", f"{path}: {message}")
        for reason, count in manifest["dropped"].items():
            result.left_out(reason, count)
        return Store(folder, manifest)
    return None


def _rows(store: Store, result: CheckResult) -> pd.DataFrame | None:
    """The rows of the store, with findings about what the manifest says otherwise; None where they cannot be read."""
    with result.catching("rows"):
        frame = store.table()
        result.found("error", "rows that are not those of the manifest", _unlike_manifest(store, frame), COPY)
        return frame
    return None


def _unlike_manifest(store: Store, frame: pd.DataFrame) -> list[str]:
    path, manifest, passed_on = store.folder / ROWS, store.manifest, store.passed_on

    def digest(rows: pd.DataFrame) -> str:
        return manifest_hash(rows, manifest["label_names"], passed_on)

    problems = _differences(path, manifest["rows_sha256"])
    twice = frame.loc[frame["id"].duplicated(), "id"]
    problems += [f"{path}: found sample {name} twice (row {row}), expected it once" for row, name in twice.items()]
    counts, hashes = manifest["counts"], manifest["split_hashes"]
    by_split = []
    for split in sorted({*counts, *hashes, *frame["split"].dropna()}):
        own = frame[frame["split"] == split]
        if len(own) != counts.get(split, 0):
            by_split.append(f"{path}: found {len(own):,} rows of {split}, expected {counts.get(split, 0):,}")
        elif (found := digest(own)) != hashes.get(split):
            by_split.append(f"{path}: found rows of {split} with hash {found}, expected {hashes.get(split)}")
    if not by_split and (found := digest(frame)) != manifest["manifest_hash"]:
        by_split.append(f"{path}: found rows with hash {found}, expected {manifest['manifest_hash']}")
    return problems + by_split


def _shards(store: Store, result: CheckResult, each: Each) -> tuple[dict[str, pa.Table] | None, set[str]]:
    """The shards by name, in their order, None where one is gone or unreadable; and those with another hash."""
    folder, recorded = store.folder / IMAGES, store.manifest["shards"]
    present = {path.name for path in folder.glob("*.arrow")}
    problems = [
        f"{folder / name}: found a shard that the manifest does not list" for name in sorted(present - {*recorded})
    ]
    shards: dict[str, pa.Table] = {}
    altered: set[str] = set()
    names = sorted(recorded)
    hashed = zip(names, each(_hashed, [(folder / name, recorded[name]) for name in names]), strict=True)
    for name, different in track(hashed, "hashing shards", len(names), disable=len(names) < 20):
        try:
            if isinstance(different, UserError):
                raise different
            if different:
                altered.add(name)
                problems += different
            shards[name] = read_shard(folder / name)
        except UserError as error:
            problems.append(str(error))
    result.counts["shards"] = len(recorded)
    result.found("error", "shard that is not that of the manifest", problems, COPY)
    return (shards if len(shards) == len(recorded) else None), altered


def _hashed(shard: tuple[Path, str]) -> list[str] | UserError:
    """:func:`_differences` of a shard and its recorded hash, or why it cannot be read."""
    try:
        return _differences(*shard)
    except UserError as error:
        return error


def _differences(path: Path, recorded: str) -> list[str]:
    """The one way in which a file is not the recorded one, if it is not. UserError where it cannot be read."""
    with boundary(f"{path}: cannot be read", COPY), path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    size = path.stat().st_size
    return [] if found == recorded else [f"{path}: found {size:,} bytes of SHA-256 {found}, expected {recorded}"]


def _in_range(frame: pd.DataFrame, count: int, result: CheckResult) -> pd.DataFrame:
    columns = image_columns(frame)
    numbers = frame[columns].apply(pd.to_numeric, errors="coerce")
    inside = pd.DataFrame({c: numbers[c].between(0 if c == "image" else NO_VIEW, count - 1) for c in columns})
    outside = [
        f"{ROWS}: found {column} {number} in row {row} (sample {name}), expected 0 to {count - 1}"
        for column in columns
        for row, name, number in frame.loc[~inside[column], ["id", column]].itertuples(name=None)
    ]
    result.found("error", "row without an image", outside, COPY)
    kept = inside.all(axis=1)
    return frame[kept].assign(**numbers[kept].astype("int64")).reset_index(drop=True)


def _check_payloads(
    store: Store,
    shards: dict[str, pa.Table],
    numbers: np.ndarray,
    altered: set[str],
    sample: int | None,
    result: CheckResult,
) -> None:
    order = np.argsort([stable_hash("check", number) for number in numbers], kind="stable")
    chosen = set(numbers[order[:sample]].tolist())
    start, problems, looked_at = 0, [], 0
    with ThreadPoolExecutor(cores()) as pool:
        for name, table in track(shards.items(), "reading images", disable=len(numbers) < 500):
            own = numbers[(numbers >= start) & (numbers < start + len(table))].tolist()
            places = [number - start for number in own if number in chosen or name in altered]
            records = (table.slice(place, 1).to_pylist()[0] for place in places)
            found = pool.map(lambda record: _problem(record, store.manifest["short_side"]), records)
            where = f"{store.folder / IMAGES / name}: row"
            problems += [f"{where} {place}: {what}" for place, what in zip(places, found, strict=True) if what]
            start, looked_at = start + len(table), looked_at + len(places)
    if looked_at < len(numbers):
        result.add("info", "sampled", f"{looked_at:,} of {len(numbers):,} images decoded; --all decodes every one")
    result.found("error", "broken image", problems, f"each would stop a run; {COPY}")


def _problem(record: dict[str, Any], short_side: int) -> str | None:
    """What is wrong with a row of a shard."""
    file, payload, size = record["file"], record["payload"], (record["width"], record["height"])
    if payload is None:
        return f"found no picture of {file} ({record['broken']}), expected one, since a sample shows it"
    source = record["source_width"], record["source_height"]
    if (fitting := shrunk_size(source, short_side)) != size:
        shrunk = f"a file of {_by(source)} shrunk to {short_side}"
        return f"found {_by(size)} pixels of {file}, expected {_by(fitting)}: {shrunk}"
    if record["raw"]:
        area = size[0] * size[1]
        fits = len(payload) in (area, 3 * area)
        return None if fits else f"found {len(payload):,} bytes of {file}, expected {area:,} or {3 * area:,}"
    try:
        with Image.open(io.BytesIO(payload)) as image:
            image.load()
            found, mode = image.size, image.mode
    except Exception as error:  # Pillow raises many types
        why = "unknown format" if isinstance(error, UnidentifiedImageError) else reason(error)
        return f"found no JPEG of {file} ({why}), expected {_by(size)} pixels"
    fits = found == size and mode in ("L", "RGB")
    return None if fits else f"found {_by(found)} pixels ({mode}) of {file}, expected {_by(size)} (L or RGB)"


def _thumbnail(reference: str) -> np.ndarray:
    """The thumbnail of a stored image; of a broken one a thumbnail that is like no other."""
    try:
        return thumbnail(image_source(reference).read())
    except UserError:
        return np.zeros(THUMBNAIL**2, np.float32)


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
