"""The images of a prepared store: memory-mapped Arrow shards in its folder ``images``, listed by its manifest."""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from data_modules.boundary import boundary, read_json
from data_modules.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

MANIFEST, IMAGES = "manifest.json", "images"
Payload = Literal["jpeg", "raw"]
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


@lru_cache(maxsize=8)
def image_table(folder: str) -> "Dataset":
    """The image shards of a store as one memory-mapped table.

    Raises:
        UserError: a shard is missing or broken.
    """
    import datasets  # takes a second to import: only where there is a store

    paths = sorted(Path(folder, IMAGES).glob("*.arrow"))
    with boundary(f"{folder}: broken manifest", "copy the store again"):
        expected = sorted(read_json(Path(folder, MANIFEST), "the manifest of a prepared store")["shards"])
    if [path.name for path in paths] != expected:
        raise UserError(f"{folder}: found {len(paths)} shards, expected {len(expected)}; copy the store again")
    with boundary(f"{folder}: broken shard", "copy the store again"):
        table = datasets.concatenate_datasets([datasets.Dataset.from_file(str(path)) for path in paths])
        if not table.data.schema.equals(SCHEMA):
            raise ValueError(f"found columns {', '.join(table.column_names)}, expected {', '.join(SCHEMA.names)}")
        table.data.table.validate(full=True)
        return table
