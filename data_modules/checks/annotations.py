"""Checks of masks and boxes: does each fit the image that it was drawn on?"""

from contextlib import suppress
from typing import Any

import pandas as pd
from rich.progress import track

from data_modules.checks.result import CheckResult
from data_modules.errors import UserError
from data_modules.images.annotations import MASK_COLUMNS, read_boxes, read_mask
from data_modules.images.source import image_source
from data_modules.index.hashing import stable_hash


def check_annotations(frame: pd.DataFrame, result: CheckResult, sample: int | None) -> None:
    """Add findings about masks and boxes; ``sample`` rows (None: all), chosen by a hash of their ids, are looked at."""
    masked, boxed = bool(set(MASK_COLUMNS) & set(frame)), "boxes" in frame
    if "image" not in frame or not (masked or boxed):
        return
    if boxed:
        result.counts["boxes"] = int(frame["boxes"].map(len).sum())
    chosen = frame["id"].map(lambda name: stable_hash("annotation", name)).argsort().iloc[: sample or len(frame)]
    records: list[dict[Any, Any]] = frame.loc[chosen.sort_values()].to_dict("records")
    looked_at = track(records, "reading masks and boxes", disable=len(records) < 500)
    problems: list[str] = []
    empty: list[str] = []
    for record in looked_at:
        with suppress(UserError):  # the check of images reports them
            size = image_source(record["image"]).size()
            try:
                if masked and not read_mask(record, size).any() and "mask" in record:
                    empty.append(record["id"])
                if boxed:
                    read_boxes(record, size, size[::-1])
            except UserError as error:
                problems.append(str(error))
    result.found("info", "empty mask", empty, "nothing is annotated there; is that meant?")
    result.found("error", "mask or box that does not fit its image", problems, "each would stop a run")
