"""Writes a whole phantom in parallel, in the layout of MIMIC-CXR-JPG and MIMIC-CXR, and marks it when complete."""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from rich.progress import track

from data_modules.errors import UserError
from data_modules.files import write_whole
from data_modules.machine import cores
from data_modules.phantom import tables
from data_modules.phantom.layouts import chosen_layouts, write_layouts
from data_modules.phantom.patient import Options, Rows, write_patient

VERSION = 1  # raise when the same options give other bytes
_CHUNK = 8
_README = "Synthetic chest radiographs and reports in the layout of MIMIC-CXR. No real patient is in here.\n"


def write_phantom(
    out: Path,
    patients: int = 400,
    seed: int = 0,
    size: int = 256,
    difficulty: Literal["normal", "hard"] = "normal",
    workers: int | None = None,
    layouts: str = "",
    progression: bool = False,
) -> dict[str, int]:
    """Write a phantom under `out` and return its counts; a complete one of the same options is left as it is.

    Args:
        out: folder to write; must be new, empty, or hold the same phantom (also an unfinished one).
        patients: number of patients; about 1.5 studies and 2 images each, split 70/10/20 by patient.
        seed: the same seed gives the same bytes, whatever the number of workers.
        size: images have about size x size pixels.
        difficulty: "hard" has stronger shifts, uneven exposure and weaker contrast.
        workers: processes; None = one per available core.
        layouts: other data sets' layouts of the same films, into `out`/layouts: names with commas between, or all.
        progression: two or three studies a patient, whose findings grow, shrink, come and go, and reports that say so;
            the layout ms_cxr_t has the exact truth.

    Raises:
        UserError: an option is out of range, or `out` holds something else.
    """
    out = Path(out)
    options = Options(patients, seed, size, difficulty, progression)
    _check(options)
    names = chosen_layouts([name for name in layouts.split(",") if name])
    written = asdict(options)
    if not progression:
        del written["progression"]  # phantoms of earlier versions have no such option
    marker = {"phantom": VERSION, "options": written}
    counts = _existing(out, marker) or _write(out, options, marker, workers)
    write_layouts(out, names)
    return counts


def _write(out: Path, options: Options, marker: dict[str, object], workers: int | None) -> dict[str, int]:
    out.mkdir(parents=True, exist_ok=True)
    _mark(out, {**marker, "complete": False})
    rows = Rows()
    for part in track(_write_all(out, options, workers), "Writing the phantom", -(-options.patients // _CHUNK)):
        rows.extend(part)
    _write_tables(out, rows)
    per_split = Counter(str(row["split"]) for row in rows.images)
    counts = {"patients": options.patients, "studies": len(rows.studies), "images": len(rows.images)}
    counts |= {f"images_{split}": per_split[split] for split in ("train", "validate", "test")}
    _mark(out, {**marker, "complete": True, "counts": counts})
    return counts


def splits(patients: int, seed: int) -> list[str]:
    """The split of each patient: 70 % train, 10 % validate, 20 % test."""
    validate, test = max(1, round(0.1 * patients)), max(1, round(0.2 * patients))
    words = ["test"] * test + ["validate"] * validate + ["train"] * (patients - test - validate)
    return [words[i] for i in np.random.default_rng([seed]).permutation(patients)]


def _check(options: Options) -> None:
    if options.patients < 3:
        raise UserError(f"found patients={options.patients}, expected at least 3 (one a split); raise --patients")
    if not 48 <= options.size <= 2048:
        raise UserError(f"found size={options.size}, expected 48 to 2048 pixels; change --size")
    if options.difficulty not in ("normal", "hard"):
        raise UserError(f"found difficulty={options.difficulty!r}, expected normal or hard; change --difficulty")
    if options.seed < 0:
        raise UserError(f"found seed={options.seed}, expected 0 or more; change --seed")


def _existing(out: Path, marker: dict[str, object]) -> dict[str, int] | None:
    """Counts of a complete phantom of the same options, None where writing may go on."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    path = out / "phantom.json"
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"found other files in {out}, expected a new or empty folder; choose another --out")
    if {key: found.get(key) for key in marker} != marker:
        raise UserError(
            f"found a phantom of other options in {out} ({path.name}: {found.get('options')}), "
            f"expected {marker['options']}; choose another --out or delete that folder"
        )
    return found["counts"] if found.get("complete") else None


def _mark(out: Path, content: dict[str, object]) -> None:
    write_whole(out / "phantom.json", json.dumps(content, indent=1) + "\n")


def _write_all(out: Path, options: Options, workers: int | None) -> Iterator[Rows]:
    chosen = splits(options.patients, options.seed)
    chunks = [list(range(i, min(i + _CHUNK, options.patients))) for i in range(0, options.patients, _CHUNK)]
    workers = min(workers or cores(), len(chunks))
    work = partial(_write_chunk, out, options, chosen)
    if workers <= 1:
        yield from map(work, chunks)
        return
    try:
        with ProcessPoolExecutor(workers, get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,)) as pool:
            yield from pool.map(work, chunks)
    except BrokenProcessPool:
        raise UserError(
            f"found that worker processes ended early while writing {out}, expected them to finish; use workers=1, "
            "or call it from a file under `if __name__ == '__main__':`"
        ) from None


def _write_chunk(out: Path, options: Options, chosen: list[str], numbers: list[int]) -> Rows:
    rows = Rows()
    for number in numbers:
        rows.extend(write_patient(out, options, number, chosen[number]))
    return rows


def _write_tables(out: Path, rows: Rows) -> None:
    jpg, cxr, truth = out / "mimic-cxr-jpg", out / "mimic-cxr", out / "truth"
    images = sorted(rows.images, key=lambda row: str(row["path"]))
    studies = sorted(rows.studies, key=lambda row: str(row["path"]))
    tables.write_table(jpg / "mimic-cxr-2.0.0-metadata.csv.gz", tables.METADATA, images)
    tables.write_table(jpg / "mimic-cxr-2.0.0-split.csv.gz", tables.SPLIT, images)
    for labeller in ("chexpert", "negbio"):
        tables.write_table(jpg / f"mimic-cxr-2.0.0-{labeller}.csv.gz", tables.STUDY_LABELS, studies)
    write_whole(jpg / "IMAGE_FILENAMES", "".join(f"{row['path']}\n" for row in images))
    write_whole(jpg / "README", _README)
    records = [{**row, "path": str(row["path"])[:-4] + ".dcm"} for row in images]
    tables.write_table(cxr / "cxr-record-list.csv.gz", tables.RECORDS, records)
    tables.write_table(cxr / "cxr-study-list.csv.gz", tables.STUDIES, studies)
    tables.write_table(truth / "labels.csv", tables.IMAGE_LABELS, rows.truth)
    lines = (json.dumps(row, separators=(",", ":")) + "\n" for row in rows.findings)
    write_whole(truth / "findings.jsonl", "".join(lines))
