"""Writes the CSV tables of MIMIC-CXR-JPG and MIMIC-CXR, gzipped so that the same rows give the same bytes."""

import csv
import gzip
import io
from collections.abc import Iterable
from pathlib import Path

from data_modules.files import write_whole
from data_modules.phantom.plan import LABELS

METADATA = (
    "dicom_id",
    "subject_id",
    "study_id",
    "PerformedProcedureStepDescription",
    "ViewPosition",
    "Rows",
    "Columns",
    "StudyDate",
    "StudyTime",
    "ProcedureCodeSequence_CodeMeaning",
    "ViewCodeSequence_CodeMeaning",
    "PatientOrientationCodeSequence_CodeMeaning",
)
SPLIT = ("dicom_id", "study_id", "subject_id", "split")
STUDY_LABELS = ("subject_id", "study_id", *LABELS)
IMAGE_LABELS = ("dicom_id", "study_id", "subject_id", *LABELS)
RECORDS = ("subject_id", "study_id", "dicom_id", "path")
STUDIES = ("subject_id", "study_id", "path")

LISTS = {"train": "train", "validate": "val", "test": "test"}

Row = dict[str, object]


def write_table(path: Path, columns: tuple[str, ...], rows: Iterable[Row]) -> None:
    """Write rows under the given columns; a missing or None value is blank. `.gz` compresses without a time stamp."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    data = text.getvalue().encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, gzip.compress(data, 6, mtime=0) if path.suffix == ".gz" else data)


def write_lists(folder: Path, splits: Iterable[tuple[str, str]]) -> None:
    """``train.txt``, ``val.txt`` and ``test.txt`` from (name, the phantom's split)."""
    names: dict[str, list[str]] = {split: [] for split in LISTS.values()}
    for name, split in splits:
        names[LISTS[split]].append(f"{name}\n")
    folder.mkdir()
    for split, lines in names.items():
        write_whole(folder / f"{split}.txt", "".join(lines))
