"""Missing images: dropped up to the share that ``max_missing`` allows."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from data_modules.contract import FURTHER_VIEWS
from data_modules.errors import UserError
from data_modules.images.source import image_source

THREADS = 16
CHUNK = 1000


def images_present(references: pd.Series) -> np.ndarray:
    """bool (N,): which images exist; looked for in several threads."""
    chunks = np.array_split(references.to_numpy(object), len(references) // CHUNK + 1)
    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(lambda names: [image_source(name).exists() for name in names], chunks)
        return np.fromiter((flag for flags in found for flag in flags), bool)


def drop_missing_views(frame: pd.DataFrame, max_missing: float, note: Callable[[str], None]) -> pd.DataFrame:
    """Leave out further views whose image is absent, not their samples; UserError where more than ``max_missing`` of a
    kind in a split are absent, or all are."""
    for name in (column for column in FURTHER_VIEWS if column in frame):
        has = frame[name].notna()
        present = pd.Series(False, frame.index)
        present[has] = images_present(frame.loc[has, name])
        absent = has & ~present
        if not absent.any():
            continue
        share = absent[has].groupby(frame.loc[has, "split"]).mean()
        told = f"{int(absent.sum()):,} of {int(has.sum()):,} {name} images are absent"
        if not present.any() or (share > max_missing).any():
            first = frame[absent].iloc[0]
            raise UserError(
                f"{told} (first: {first[name]} of sample {first['id']}); complete the download, or set "
                f"data.max_missing, the share that may be absent (now {max_missing:g}), to go on without them"
            )
        note(f"{told}: their samples go without")
        frame[name] = frame[name].where(~absent, None)
        frame[f"{name}_id"] = frame[f"{name}_id"].where(~absent, None)
    return frame


def drop_missing_images(
    frame: pd.DataFrame, max_missing: float, drop: Callable[[str, int], None], note: Callable[[str], None]
) -> pd.DataFrame:
    """Leave out rows whose image is absent; UserError where a split lacks more than ``max_missing``, or all do."""
    present = images_present(frame["image"])
    if present.all():
        return frame
    found = pd.Series(present, index=frame.index).groupby(frame["split"]).agg(["sum", "count"])
    counts = ", ".join(f"{split} {row['sum']:,}/{row['count']:,}" for split, row in found.iterrows())
    if not present.any() or (1 - found["sum"] / found["count"] > max_missing).any():
        first = frame[~present].iloc[0]
        way_on = f", or set data.max_missing, the share that may be absent (now {max_missing:g}), to go on without them"
        raise UserError(
            f"found images: {counts}; first missing: {first['image']} (sample {first['id']}); complete the download"
            + way_on * bool(present.any())
        )
    drop("missing image", int((~present).sum()))
    note(f"images found: {counts}")
    return frame[present].reset_index(drop=True)
