"""`check`: what is missing or broken in a data set or its prepared store, and what its splits share.

A data set may have a module `<name>.py` here for the faults that only it can have. Its `examine(data, result)` adds
findings to the result and returns the rows as ``read_index`` does, including faulty ones, or None if the check cannot
go on. It raises UserError for what cannot be read. Without such a module the data module reads the rows.
"""

import json
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from data_modules.base import DataModule
from data_modules.checks.annotations import check_annotations
from data_modules.checks.images import WHERE, check_images
from data_modules.checks.leakage import check_against, check_splits
from data_modules.checks.result import CheckResult, examine_rows
from data_modules.checks.store import HASHES, check_pictures, check_store, is_store
from data_modules.errors import UserError
from data_modules.files import write_whole
from data_modules.index.draws import draw_splits
from data_modules.index.exclusion import drop_excluded
from data_modules.index.labels import refuse_without_positive
from data_modules.index.split_files import take_split_file
from data_modules.index.splits import SPLITS, has_splits, normalise_splits
from data_modules.index.views import one_row_an_image
from data_modules.machine import Each, in_threads
from data_modules.store.store import open_store

SAMPLE = 2000
"""Images decoded unless all are, or all are compared with a store."""
Examine = Callable[[Any, CheckResult], pd.DataFrame | None]


def check(
    name: str,
    root: Path,
    data: DataModule,
    decode_all: bool = False,
    against: Path | None = None,
    exclude_to: Path | None = None,
    each: Each = in_threads,
) -> CheckResult:
    """Check everything; one fault does not hide the others.

    Args:
        name: of the data set; ``checks/<name>.py`` is used where there is one.
        root: a prepared store; else for the result.
        data: the data module, whose arguments count (``sections``, ``split_file``, ``exclude``, ...).
        decode_all: decode every image, not a sample.
        against: a prepared pre-training store, to look for patients and pictures it shares with val and test; for
            that, every image of a ``root`` that is no store is decoded.
        exclude_to: file to write the patients of that store to exclude: ``--data.exclude [FILE]`` of pre-training.
        each: hashes shards and decodes images.
    """
    result = CheckResult(name, str(root), str(against) if against else None)
    sample, files = None if decode_all else SAMPLE, pd.DataFrame(columns=[*WHERE, *HASHES])
    frame, pictures = None, None
    with result.catching("unreadable"):
        if is_store(root):
            frame, pictures = check_store(root, data, result, sample, each)
        else:
            special = find_spec(f"data_modules.checks.{name}")
            examine: Examine = import_module(special.name).examine if special else examine_rows
            frame = examine(data, result)
    if frame is None:
        return result
    if (frame := _as_read(frame, result, data)).empty:
        result.add("error", "no usable sample", "found no sample that is not left out; loosen what leaves them out")
        return result
    sizes = frame["split"].value_counts()
    named = [*SPLITS, *sorted(set(sizes.index) - set(SPLITS))]
    result.counts |= {f"{split} samples": int(sizes[split]) for split in named if split in sizes}
    keys = {"patient": "patients", "study": "studies", "image": "images"}
    result.counts |= {name: n for key, name in keys.items() if key in frame and (n := int(frame[key].nunique()))}
    check_splits(frame, result)
    check_labels(frame, data.label_names, result)
    if pictures is not None:
        files = check_pictures(one_row_an_image(frame), pictures, result)
    elif "image" in frame:
        looked_at = sample if against is None else None
        files = check_images(one_row_an_image(frame), result, looked_at, data.max_missing, each)
    check_annotations(frame, result, sample)
    if against is not None:
        exclude = check_against(frame, files, against, result)
        if exclude_to is not None:
            write_whole(exclude_to, json.dumps(sorted(exclude), indent=1) + "\n")
    return result


def check_labels(frame: pd.DataFrame, labels: Sequence[str], result: CheckResult) -> None:
    """A warning for each split in which a class has no positive, because a task that trains on labels refuses it; of a
    set with a training split."""
    if not (frame["split"] == "train").any():
        return
    for split in ("train", "val"):
        try:
            refuse_without_positive(frame[frame["split"] == split], split, labels)
        except UserError as error:
            result.add("warning", "class without a positive", f"{error}; a task that trains on labels refuses it")


def _as_read(frame: pd.DataFrame, result: CheckResult, data: DataModule) -> pd.DataFrame:
    """With the splits of the split file, else its own, else drawn ones, and without the patients to exclude."""
    if data.split_file is not None:
        with result.catching("split file"):
            frame = take_split_file(frame, data.split_file, result.left_out)
    if not frame.empty:
        frame = _with_splits(frame, result, data)
    with result.catching("exclusion manifest"):
        if not frame.empty:
            frame = data.choose_rows(frame.reset_index(drop=True))
        store = open_store(Path(result.root)) if is_store(Path(result.root)) else None
        before = None if store is None else dict(store.manifest["excluded"])
        frame = drop_excluded(frame, data.exclude, result.left_out, before)
    return frame


def _with_splits(frame: pd.DataFrame, result: CheckResult, data: DataModule) -> pd.DataFrame:
    if not has_splits(frame):
        result.add("info", "drawn split", "no split is given: train, val and test are drawn by patient and text")
        return frame.assign(split=draw_splits(frame, data.label_names, data.seed))
    with result.catching("unknown split"):
        return frame.assign(split=normalise_splits(frame["split"], frame["id"]))
    return frame.assign(split=frame["split"].fillna("?"))
