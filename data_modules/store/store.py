"""A prepared store: rows in Parquet, images once each in memory-mapped Arrow shards; `prepare` writes it.

Layout::

  <store>/manifest.json                what it was made of and with: options, counts, drops, hashes, versions
  <store>/rows.parquet                 what `read_index` gave, with a split; `image` is a row of the image table, and so
                                       are `lateral` and `prior`, -1 for none
  <store>/images/data-00000-of-00004.arrow     columns: `SCHEMA` of `images.shards`
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from data_modules.boundary import boundary, read_json
from data_modules.errors import UserError
from data_modules.images.shards import COPY, MANIFEST, image_table
from data_modules.images.source import stored_references
from data_modules.index.views import image_columns

_CHOSEN = "rows that balanced, positives, article_disjoint, retrieval_pairs or pinned leave out are not in it"
OLDER = {
    4: f"EXIF orientation, 13- to 15-bit images and colour masks are as that version read them, and {_CHOSEN}",
    5: _CHOSEN,
}
"""Versions that are still read, and how their content differs."""
VERSION = 6
"""Raise when the same sources and options give other bytes."""
ROWS = "rows.parquet"
NO_VIEW = -1
"""Number of a further view that a sample does not have."""
KEYS = {
    "module": str, "phantom": bool, "options": dict, "short_side": int, "label_names": list, "exclusive_classes": bool,
    "box_classes": list, "notes": list, "excluded": dict, "seed": int, "drawn": bool, "counts": dict, "dropped": dict,
    "manifest_hash": str, "split_hashes": dict, "rows_sha256": str, "shards": dict, "seal": str,
}  # fmt: skip
"""Fields of a manifest that are read, with their JSON type."""
ITEMS = {
    "label_names": str, "box_classes": str, "notes": str, "excluded": int, "counts": int, "dropped": int,
    "split_hashes": str, "shards": str,
}  # fmt: skip
"""Fields that are lists or objects, with the type of their values."""


class Store:
    """A finished store; ``manifest`` is the content of its ``manifest.json``."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest

    @property
    def passed_on(self) -> list[str]:
        """Columns that the data module passed on to the batch; UserError where the manifest does not list them so."""
        found = self.manifest.get("passed_on", {})
        if not isinstance(found, dict):
            raise UserError(f"{self.folder / MANIFEST}: found passed_on {found!r}, expected columns by name; {COPY}")
        return list(found)

    def check_options(
        self, module: str, options: dict[str, Any], short_side: int | None, defaults: dict[str, Any] | None = None
    ) -> None:
        """UserError unless the store was made by this data module with these options and this short side.

        An option that the store does not name came later: it was made with what is now the default, of ``defaults``.
        """
        known = {key: value for key, value in (defaults or {}).items() if key in options}
        made = json.loads(json.dumps(known, default=str)) | self.manifest["options"]
        if self.manifest["module"] != module:
            raise UserError(f"{self.folder}: found a store of {self.manifest['module']}, expected one of {module}")
        options = json.loads(json.dumps(options, default=str))
        if different := sorted(key for key in made.keys() | options.keys() if made.get(key) != options.get(key)):
            key = different[0]
            raise UserError(
                f"{self.folder}: was prepared with {key} {made.get(key)!r}, found data.{key} {options.get(key)!r}; "
                f"set data.{key} to the former, or prepare another store"
            )
        if short_side not in (None, self.manifest["short_side"]):
            raise UserError(
                f"{self.folder}: was prepared with short side {self.manifest['short_side']}, found "
                f"data.augment.short_side {short_side}; set it to null, or prepare another store"
            )

    def table(self) -> pd.DataFrame:
        """As ``read_index`` gives them, but ``image`` is a row of the image table; UserError where it is broken."""
        path = self.folder / ROWS
        with boundary(f"{path}: cannot be read", COPY):
            table = pq.read_table(path)
            table.validate(full=True)  # text that is not UTF-8 would be found much later
            frame = table.to_pandas()
            for field in table.schema:  # lists of lists, not arrays of arrays
                if pa.types.is_list(field.type):
                    frame[field.name] = pd.Series(table[field.name].to_pylist(), frame.index, dtype=object)
        needed = ["id", "patient", "study", "split", *self.manifest["label_names"]]
        if absent := [name for name in needed if name not in frame]:
            raise UserError(f"{path}: found no column {absent[0]}, expected {', '.join(needed)}; {COPY}")
        return frame

    def rows(self) -> pd.DataFrame:
        """As ``read_index`` gives them, with references in ``image``; opens the images, so that workers share them."""
        frame = self.table()
        for name in image_columns(frame):
            count = len(image_table(str(self.folder)))
            lowest = 0 if name == "image" else NO_VIEW
            numbers = frame[name]
            if not pd.api.types.is_integer_dtype(numbers) or not numbers.between(lowest, count - 1).all():
                raise UserError(f"{self.folder / ROWS}: found {name} numbers outside {lowest} to {count - 1}; {COPY}")
            frame[name] = stored_references(self.folder, numbers).where(numbers != NO_VIEW, None)
        return frame

    def images(self) -> pd.DataFrame:
        """file, sha256 and phash of every image, in the order of the table."""
        return image_table(str(self.folder)).select(["file", "sha256", "phash"]).to_pandas(integer_object_nulls=True)


def open_store(folder: Path) -> Store | None:
    """The store in ``folder``, None where there is none; UserError for one of another version."""
    if not (folder / MANIFEST).is_file() or not (folder / ROWS).is_file():
        return None
    return Store(folder, read_manifest(folder / MANIFEST))


def is_phantom(root: Path) -> bool:
    """Whether ``root`` lies in a folder that the `phantom` command wrote, or is a store prepared from such a folder.

    Raises:
        UserError: a store of another version.
    """
    if store := open_store(root):
        return store.manifest["phantom"]
    root = root.resolve()
    return any((folder / "phantom.json").is_file() for folder in (root, *root.parents[:2]))


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a store; UserError where it is gone, broken or of another version."""
    manifest = read_json(path, "the manifest of a prepared store")
    version = manifest.get("version") if isinstance(manifest, dict) else None
    if version not in (*OLDER, VERSION):
        raise UserError(f"{path}: found version {version}, expected {VERSION}; prepare the store again")
    for key, kind in KEYS.items():
        if not isinstance(value := manifest.get(key), kind):
            raise UserError(f"{path}: found {key} {repr(value)[:80]}, expected a value of type {kind.__name__}; {COPY}")
    for key, kind in ITEMS.items():
        value = manifest[key]
        if odd := [item for item in (value.values() if isinstance(value, dict) else value) if type(item) is not kind]:
            raise UserError(f"{path}: found {repr(odd[0])[:80]} in {key}, expected type {kind.__name__}; {COPY}")
    if not manifest["shards"]:
        raise UserError(f"{path}: found no shard, expected one or more; {COPY}")
    return manifest


def seal(manifest: dict[str, Any]) -> str:
    """SHA-256 of everything in a manifest but its own ``seal``."""
    content = {key: value for key, value in manifest.items() if key != "seal"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
