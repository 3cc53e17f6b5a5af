"""Checks of image files: missing, broken, misnamed, and what each picture is (hashes) to find it again."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from PIL import Image
from rich.progress import track

from data_modules.checks.result import CheckResult
from data_modules.errors import UserError
from data_modules.images.decode import decode, is_dicom, orientation_is_unknown
from data_modules.images.perceptual import near_pairs, perceptual_hash
from data_modules.images.source import ImageFile, image_source
from data_modules.index.hashing import stable_hash
from data_modules.machine import Each, in_threads

THUMBNAIL = 64
ALIKE = 0.995
"""Correlation of thumbnails from which on two pictures with near hashes are the same picture."""
SHORT_SIDE = 256
SUFFIXES = {"JPEG": (".jpg", ".jpeg"), "PNG": (".png",)}
LOOKED_AT = ["sha256", "phash", "thumbnail", "problem", "misnamed", "unturned"]
WHERE = ["file", "split", "patient"]


def check_images(
    frame: pd.DataFrame, result: CheckResult, sample: int | None, max_missing: float = 0.0, each: Each = in_threads
) -> pd.DataFrame:
    """Add findings about the images of ``frame``; returns one row a readable image: file, split, patient, hashes.

    Every file is looked for, and files of equal size are compared byte by byte; ``sample`` of them (None: all),
    chosen by a hash of their names, are decoded by ``each``. Where ``frame`` has a column ``needed``, only missing
    images that are needed make an error.
    """
    files = frame.drop_duplicates("image").rename(columns={"image": "file"}).reset_index(drop=True)
    needed = files["needed"] if "needed" in files else pd.Series(True, files.index)
    files = files[WHERE].copy()
    files["size"] = [_size(file) for file in track(files["file"], "looking for images", disable=len(files) < 5000)]
    missing = files["size"] < 0
    refused = missing[needed].all() or (missing[needed].groupby(files["split"]).mean() > max_missing).any()
    allowed = "left out or not read, as data.max_missing and the settings of the data set allow"
    advice = "complete the download, or set data.max_missing" if refused else allowed
    result.found("error" if refused else "info", "missing image", files.loc[missing, "file"], advice)
    files = files[~missing].reset_index(drop=True)
    chosen = files["file"].map(lambda name: stable_hash("check", name)).argsort().iloc[: sample or len(files)]
    chosen = chosen.sort_values()
    if len(chosen) < len(files):
        looked_for = "broken images and near-duplicates were looked for among these only"
        told = f"{len(chosen):,} of {len(files):,} images decoded; {looked_for}: --all decodes every one"
        result.add("info", "sampled", told)
    looked_at = each(look_at, files.loc[chosen, "file"].tolist())
    rows = list(track(looked_at, "reading images", total=len(chosen), disable=len(chosen) < 500))
    seen = pd.DataFrame(rows, index=chosen, columns=LOOKED_AT)
    hashes = pd.array([row[1] for row in rows], dtype="Int64")  # floats would not hold a hash
    files = files.join(seen.assign(phash=hashes))
    broken = files["problem"].notna()
    result.found("error", "broken image", files.loc[broken, "problem"], "each would stop a run")
    result.found("warning", "misnamed image", files["misnamed"].dropna(), "rename it; other tools trust the suffix")
    advice = "taken for upright; look at it, and remove the block or mend it"
    result.found("warning", "EXIF orientation that cannot be read", files["unturned"].dropna(), advice)
    same_size = files["size"].duplicated(keep=False) & files["sha256"].isna() & ~broken
    for row in track(files.index[same_size], "comparing files", disable=int(same_size.sum()) < 500):
        files.loc[row, "sha256"] = hashlib.sha256(image_source(files.loc[row, "file"]).bytes()).hexdigest()
    files = files[~broken].reset_index(drop=True)
    check_duplicates(files, result, lambda record: record["thumbnail"])
    return files


def check_duplicates(files: pd.DataFrame, result: CheckResult, shown: Callable[[dict[Any, Any]], np.ndarray]) -> None:
    """Add findings about equal and nearly equal pictures.

    Args:
        files: file, split, patient, sha256 and phash, one row a picture.
        result: to add to.
        shown: the thumbnail of a row; asked for where hashes are near.
    """
    _add_equal(files, result)
    _add_near(files, result, shown)


def look_at(file: str) -> tuple[str | None, int | None, np.ndarray | None, str | None, str | None, str | None]:
    """sha256, perceptual hash, thumbnail; or what is wrong with the file; a suffix that is not its format; and the name
    of a file whose EXIF orientation cannot be read: :data:`LOOKED_AT`."""
    try:
        place = image_source(file)
        source = place.bytes()
        image = decode(io.BytesIO(source), file, SHORT_SIDE)
        kind, unturned = _format(source, file)
    except UserError as error:
        return None, None, None, str(error), None, None
    suffix = Path(file).suffix.lower()
    wrong = isinstance(place, ImageFile) and suffix not in SUFFIXES.get(kind, (suffix,))
    misnamed = f"{file}: its content is {kind}" if wrong else None
    digest = hashlib.sha256(source).hexdigest()
    return digest, perceptual_hash(image), thumbnail(image), None, misnamed, file if unturned else None


def _format(source: bytes, file: str) -> tuple[str, bool]:
    """The format, and whether the EXIF orientation cannot be read."""
    if is_dicom(file):
        return "DICOM", False
    with Image.open(io.BytesIO(source)) as opened:
        return opened.format or "", orientation_is_unknown(opened)


def thumbnail(image: np.ndarray) -> np.ndarray:
    """float32 (64 * 64,), zero mean and unit length, so that a dot product is a correlation."""
    gray = image if image.ndim == 2 else image.mean(axis=2)
    small = cv2.resize(gray.astype(np.float32), (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).ravel()
    small -= small.mean()
    return small / max(float(np.linalg.norm(small)), 1e-6)


def _size(file: str) -> int:
    """Bytes of a file, 0 of what lies in a table, -1 where there is none."""
    try:
        return Path(file).stat().st_size if isinstance(image_source(file), ImageFile) else 0
    except OSError:
        return -1


def _add_equal(files: pd.DataFrame, result: CheckResult) -> None:
    across: list[str] = []
    within: list[str] = []
    for _, group in files[files["sha256"].notna()].groupby("sha256", sort=True):
        if len(group) > 1:
            (across if group["split"].nunique() > 1 else within).append(_listed(group.to_dict("records")))
    result.found("error", "image in two splits (byte-identical)", across, "give them one split, or leave one out")
    result.found("warning", "byte-identical images in one split", within, "they are the same sample twice")


def _add_near(files: pd.DataFrame, result: CheckResult, shown: Callable[[dict[Any, Any]], np.ndarray]) -> None:
    known = files[files["phash"].notna()].reset_index(drop=True)
    records = known.to_dict("records")
    across: list[str] = []
    within: list[str] = []
    for i, j in near_pairs(known["phash"].to_numpy(np.int64)):
        first, second = records[i], records[j]
        if first["sha256"] != second["sha256"] and shown(first) @ shown(second) >= ALIKE:
            (across if first["split"] != second["split"] else within).append(_listed([first, second]))
    advice = "look at them; give them one split, or one patient where the split is drawn"
    result.found("error", "picture in two splits (near-duplicate)", across, advice)
    result.found("info", "near-duplicate pictures in one split", within, "look at them")


def _listed(rows: list[dict[Any, Any]]) -> str:
    return " = ".join(
        f"{row['file']} ({row['split']}{'' if pd.isna(row['patient']) else ', patient ' + str(row['patient'])})"
        for row in rows
    )
