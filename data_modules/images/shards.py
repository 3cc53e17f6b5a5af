"""The images of a prepared store: memory-mapped Arrow shards in its folder ``images``, listed by its manifest."""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from data_modules.boundary import boundary, read_json
from data_modules.errors import UserError

if TYPE_CHECKING:
    from datasets.table import InMemoryTable

MANIFEST, IMAGES = "manifest.json", "images"
COPY = "copy the store again, or prepare it again"
SCHEMA = pa.schema(
    {
        "file": pa.string(),
        "sha256": pa.string(),
        "phash": pa.int64(),
        "width": pa.int32(),
        "height": pa.int32(),
        "source_width": pa.int32(),
        "source_height": pa.int32(),
        "raw": pa.bool_(),
        "payload": pa.binary(),
        "broken": pa.string(),
    }
)
"""``payload`` is a JPEG file or, where ``raw``, uint8 pixels, row by row; null where ``broken`` says why. ``width``
and ``height`` are as stored, ``source_`` as in the file."""


def read_shard(path: Path) -> pa.Table:
    """The rows of one shard, memory-mapped; UserError where it cannot be read or has other columns than ``SCHEMA``."""
    with boundary(f"{path}: cannot be read", COPY), pa.memory_map(str(path)) as source:
        table = pa.ipc.open_stream(source).read_all()
        if not table.schema.equals(SCHEMA):
            raise ValueError(f"found columns {', '.join(table.column_names)}, expected {', '.join(SCHEMA.names)}")
        table.validate(full=True)  # offsets and texts, not the images: damage would stop a run at that row
        return table


@lru_cache(maxsize=8)
def image_table(folder: str) -> "InMemoryTable":
    """The shards of a store as one memory-mapped table of images.

    Raises:
        UserError: a shard is missing or broken.
    """
    from datasets.table import InMemoryTable  # takes a second to import: only where there is a store

    paths = sorted(Path(folder, IMAGES).glob("*.arrow"))
    with boundary(f"{folder}: broken manifest", COPY):
        expected = sorted(read_json(Path(folder, MANIFEST), "the manifest of a prepared store")["shards"])
    if [path.name for path in paths] != expected:
        raise UserError(f"{folder}: found {len(paths)} shards, expected {len(expected)}; {COPY}")
    table = pa.concat_tables(map(read_shard, paths))
    with boundary(f"{folder}: broken shard", COPY):
        table.validate(full=True)
    return InMemoryTable(table)
