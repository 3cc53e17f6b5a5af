"""Writes one shard of a prepared store: decode, shrink once, encode; whole or not at all."""

import hashlib
import io
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
from PIL import Image

from data_modules.errors import UserError
from data_modules.images.decode import decode, encoded_size, is_upright
from data_modules.images.perceptual import perceptual_hash
from data_modules.images.shards import SCHEMA, Payload
from data_modules.images.source import image_source

JPEG = b"\xff\xd8\xff"
LONGEST_SIDE = 65_500
"""Pixels; the library writes no longer JPEG."""
BATCH = 32
"""Images a record batch: what a writer holds in memory."""


@dataclass(frozen=True)
class ShardJob:
    """One shard: ``files`` are read, ``names`` (their paths below the root) are written."""

    path: Path
    files: list[str]
    names: list[str]
    short_side: int
    payload: Payload
    quality: int


def write_shard(job: ShardJob) -> None:
    """Write ``job.path`` and, before it, its SHA-256 beside it; a broken image is a row that says why.

    Raises:
        OSError: among them the disk is full; nothing is left of the shard.
    """
    draft = job.path.with_name(f"{job.path.name}.{os.getpid()}.part")
    try:
        with draft.open("wb") as file:
            sink = _Hashing(file)
            with pa.ipc.new_stream(pa.PythonFile(sink, "w"), SCHEMA) as stream:
                for batch in _batches(job):
                    stream.write_batch(batch)
            file.flush()
            os.fsync(file.fileno())
        checksum(job.path).write_text(sink.digest.hexdigest())
        draft.replace(job.path)
    finally:
        draft.unlink(missing_ok=True)


def write_shards(jobs: list[ShardJob], workers: int) -> Iterator[None]:
    """Write all, in several processes; this module imports little, so that they start quickly."""
    workers = min(workers, len(jobs))
    if workers <= 1:
        yield from map(write_shard, jobs)
        return
    try:
        with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_end_with_parent) as pool:
            yield from pool.map(write_shard, jobs)
    except BrokenProcessPool:
        raise UserError("a worker process was ended, probably for memory; run again with --workers 1") from None


def _end_with_parent() -> None:
    """A killed parent must not leave workers behind."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def checksum(path: Path) -> Path:
    """Where the SHA-256 of a shard lies until the store is finished."""
    return path.with_suffix(".sha256")


def read_and_encode(file: str, name: str, short_side: int, payload: Payload, quality: int) -> dict[str, object]:
    """A row of a shard. A JPEG that is small enough keeps its own bytes."""
    try:
        source = image_source(file).bytes()
        image = decode(io.BytesIO(source), file, short_side)
    except (UserError, OSError) as error:
        return {"file": name, "broken": str(error)}
    row: dict[str, object] = {"file": name, "sha256": hashlib.sha256(source).hexdigest()}
    row |= {"phash": perceptual_hash(image), "width": image.shape[1], "height": image.shape[0]}
    row["source_width"], row["source_height"] = encoded_size(io.BytesIO(source), file)
    row["raw"] = payload == "raw"
    if payload == "jpeg" and max(image.shape) > LONGEST_SIDE:
        return {"file": name, "broken": f"{file}: found {image.shape[1]} x {image.shape[0]} pixels after shrinking, "
                f"expected sides of at most {LONGEST_SIDE:,} for JPEG; store it with --payload raw"}  # fmt: skip
    if payload == "raw":
        return row | {"payload": np.ascontiguousarray(image).tobytes()}
    return row | {"payload": source if _is_as_stored(source, image) else _jpeg(image, quality)}


def _is_as_stored(source: bytes, image: np.ndarray) -> bool:
    if not source.startswith(JPEG):
        return False
    with Image.open(io.BytesIO(source)) as opened:
        height, width = image.shape[:2]
        return opened.mode in ("L", "RGB") and opened.size == (width, height) and is_upright(opened)


def _jpeg(image: np.ndarray, quality: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", quality=quality, subsampling=0)
    return out.getvalue()


def _batches(job: ShardJob) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(job.files), BATCH):
        part = slice(start, start + BATCH)
        rows = [
            read_and_encode(file, name, job.short_side, job.payload, job.quality)
            for file, name in zip(job.files[part], job.names[part], strict=True)
        ]
        yield pa.RecordBatch.from_pylist(rows, SCHEMA)


class _Hashing(io.RawIOBase):
    """A file that hashes what goes through it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self.digest.update(view)
        return self._file.write(view)
