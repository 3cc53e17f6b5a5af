"""All that `prepare` will do, known before anything is written."""

import json
import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from data_modules.base import DataModule
from data_modules.contract import FURTHER_VIEWS
from data_modules.errors import UserError
from data_modules.index.manifest import manifest_hash
from data_modules.index.passed_on import as_declared
from data_modules.index.splits import SPLITS, has_splits
from data_modules.index.views import image_columns
from data_modules.store.shards import Options, read_and_encode
from data_modules.store.store import VERSION

SAMPLED = 24
"""Images that are encoded beforehand, to estimate the size of the store."""


@dataclass
class Plan:
    """All that a run will do, known before anything is written."""

    rows: pd.DataFrame
    files: list[str]
    manifest: dict[str, Any]
    shards: dict[str, slice]
    bytes: int

    def describe(self) -> str:
        """Two lines: the samples, and the images."""
        counts = ", ".join(f"{split} {n:,}" for split, n in self.manifest["counts"].items())
        dropped = ", ".join(f"{reason} {n:,}" for reason, n in self.manifest["dropped"].items()) or "nothing"
        options = self.manifest["encoding"]
        return (
            f"{self.manifest['module']}: {counts}; dropped: {dropped}\n"
            f"{len(self.files):,} images, short side at most {self.manifest['short_side']}, {options['payload']}: "
            f"about {gigabytes(self.bytes)} in {len(self.shards)} shards"
        )


def make_plan(data: DataModule, options: Options, per_shard: int) -> Plan:
    """Read ``data`` and settle what will be written.

    Raises:
        UserError: what reading ``data`` raises, or arguments that belong to reading a store.
    """
    if data.label_fraction != 1:
        raise UserError(f"found --data.label_fraction {data.label_fraction:g}, expected 1: it is taken on reading")
    if data.split_file is not None:
        raise UserError(f"found --data.split_file {data.split_file}, expected none: it is taken on reading")
    if data.text.drop_comparisons:
        raise UserError("found --data.text.drop_comparisons true, expected false: sentences are left out on reading")
    rows = as_declared(data.read_index().reset_index(drop=True), data.passed_on)
    checked = data.sound_rows(rows.copy(), every=True)
    checked = checked.sort_values(["split", "study", "id"], kind="stable", ignore_index=True)
    drawn = not has_splits(rows)
    rows = rows.set_index("id", drop=False).loc[checked["id"]].reset_index(drop=True).assign(split=checked["split"])
    views = [column for name in FURTHER_VIEWS if name in rows for column in (name, f"{name}_id")]
    rows[views] = checked[views]  # without those whose image is missing
    manifest: dict[str, Any] = {
        "version": VERSION,
        "module": type(data).__name__,
        "phantom": data.phantom,
        "options": json.loads(json.dumps(data.index_options(), default=str)),
        "short_side": options.short_side,
        "encoding": {"payload": options.payload, "quality": options.quality},
        "label_names": data.label_names,
        "exclusive_classes": data.exclusive_classes,
        "box_classes": data.box_classes,
        "notes": list(data._notes),
        "excluded": dict(data._excluded),
        "seed": data.seed,
        "drawn": drawn,
        **described(checked, data),
        "versions": _versions(),
    }
    if data.passed_on:
        manifest["passed_on"] = dict(data.passed_on)
    if "license" in rows:
        manifest["licences"] = rows["license"].fillna("").value_counts().sort_index().to_dict()
    if "image" not in rows:
        return Plan(rows, [], manifest, {}, 0)
    columns = image_columns(rows)
    numbers, files = pd.factorize(pd.concat([rows[name] for name in columns]))  # NA is -1, which is NO_VIEW
    for name, part in zip(columns, np.split(numbers.astype("int64"), len(columns)), strict=True):
        rows[name] = part
    starts = range(0, len(files), per_shard)
    shards = {
        f"data-{k:05d}-of-{len(starts):05d}.arrow": slice(start, min(start + per_shard, len(files)))
        for k, start in enumerate(starts)
    }
    return Plan(rows, list(files), manifest, shards, _estimate(list(files), options))


def described(checked: pd.DataFrame, data: DataModule) -> dict[str, Any]:
    """What a manifest says of the rows that ``data`` has checked: counts, rows left out, and hashes."""

    def digest(rows: pd.DataFrame) -> str:
        return manifest_hash(rows, data.label_names, data.passed_on)

    parts = {split: checked[checked["split"] == split] for split in SPLITS}
    return {
        "counts": {split: len(part) for split, part in parts.items()},
        "dropped": dict(sorted(data.dropped.items())),
        "manifest_hash": digest(checked),
        "split_hashes": {split: digest(part) for split, part in parts.items()},
    }


def _estimate(files: list[str], options: Options) -> int:
    """Bytes of the payloads, judged by some of them."""
    sample = files[:: max(len(files) // SAMPLED, 1)]
    payloads = (read_and_encode(file, file, options).get("payload") for file in sample)
    sizes = [len(payload) for payload in payloads if isinstance(payload, bytes)]
    return sum(sizes) * len(files) // max(len(sizes), 1)


def _versions() -> dict[str, str]:
    names = ("mpma-lightning", "pillow", "opencv-python-headless", "pyarrow", "datasets", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def gigabytes(count: int) -> str:
    """A size for people."""
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.2f} MB"
