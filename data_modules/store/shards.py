"""Writes one shard of a prepared store: decode, shrink once, encode; whole or not at all."""

import hashlib
import io
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from PIL import Image

from data_modules.errors import UserError
from data_modules.files import whole_file
from data_modules.images.decode import decode, encoded_size, is_upright
from data_modules.images.perceptual import perceptual_hash
from data_modules.images.shards import SCHEMA
from data_modules.images.source import image_source

JPEG = b"\xff\xd8\xff"
LONGEST_SIDE = 65_500
"""Pixels; the library writes no longer JPEG."""
BATCH = 32
"""Images in a record batch, which a writer holds in memory."""
CONTINUE = "Make room and run the same command again, which continues"


@dataclass(frozen=True)
class Options:
    """How images are stored.

    Args:
        short_side: larger images are shrunk to this shorter side, in pixels.
        payload: "jpeg" is small, "raw" (uint8 pixels) is read without decoding and bit-equal to reading the files.
        quality: of JPEG, 1 to 100.
    """

    short_side: int = 768
    payload: Literal["jpeg", "raw"] = "jpeg"
    quality: int = 90


@dataclass(frozen=True)
class ShardJob:
    """One shard to write to ``path``: ``files`` are read, ``names`` (their paths below the root) are written."""

    path: Path
    files: list[str]
    names: list[str]
    options: Options


def write_shard(job: ShardJob) -> None:
    """Write ``job.path`` and, before it, its SHA-256 beside it; a broken image is a row that says why.

    Raises:
        UserError: the shard cannot be written, for example because the disk is full; nothing is left of it.
    """
    with whole_file(job.path, remedy=CONTINUE) as draft:
        with pa.OSFile(str(draft), "wb") as sink, pa.ipc.new_stream(sink, SCHEMA) as stream:
            for batch in _batches(job):
                stream.write_batch(batch)
        with draft.open("rb") as written, whole_file(checksum(job.path), remedy=CONTINUE) as beside:
            beside.write_text(hashlib.file_digest(written, "sha256").hexdigest())


def in_processes(function: Callable[[Any], Any], items: Sequence[Any], workers: int) -> Iterator[Any]:
    """Results in the order of ``items``. This module imports little, so that the processes start quickly.

    Raises:
        UserError: a process was killed.
    """
    workers = min(workers, len(items))
    if workers <= 1:
        yield from map(function, items)
        return
    try:
        with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_end_with_parent) as pool:
            yield from pool.map(function, items)
    except BrokenProcessPool:
        raise UserError("a worker process was ended, probably for memory; run again with --workers 1") from None


def _end_with_parent() -> None:
    """Ends this worker process when its parent ends, even if that was killed."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def checksum(path: Path) -> Path:
    """The file that holds the SHA-256 of a shard until the store is finished."""
    return path.with_suffix(".sha256")


def read_and_encode(file: str, name: str, options: Options) -> dict[str, object]:
    """The image ``file`` as a row of a shard, where it is called ``name``. A JPEG that is small enough keeps its own
    bytes."""
    try:
        source = image_source(file).bytes()
        image = decode(io.BytesIO(source), file, options.short_side)
    except UserError as error:
        return {"file": name, "broken": str(error)}
    if options.payload == "raw":
        payload = np.ascontiguousarray(image).tobytes()
    elif max(image.shape) > LONGEST_SIDE:
        return {"file": name, "broken": f"{file}: found {image.shape[1]} x {image.shape[0]} pixels after shrinking, "
                f"expected sides of at most {LONGEST_SIDE:,} for JPEG; store it with --payload raw"}  # fmt: skip
    else:
        payload = source if _is_as_stored(source, image) else _jpeg(image, options.quality)
    source_width, source_height = encoded_size(io.BytesIO(source), file)
    return {
        "file": name,
        "sha256": hashlib.sha256(source).hexdigest(),
        "phash": perceptual_hash(image),
        "width": image.shape[1],
        "height": image.shape[0],
        "source_width": source_width,
        "source_height": source_height,
        "raw": options.payload == "raw",
        "payload": payload,
    }


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
    pairs = zip(job.files, job.names, strict=True)
    while part := list(islice(pairs, BATCH)):
        yield pa.RecordBatch.from_pylist([read_and_encode(file, name, job.options) for file, name in part], SCHEMA)
