"""MIMIC-CXR: tables, labels and reports one by one, so that a fault in one does not hide the others."""

from pathlib import Path

import pandas as pd

from data_modules.base import DataModule
from data_modules.checks.result import CheckResult, Severity
from data_modules.errors import UserError
from data_modules.index.faulty import refuse_many
from data_modules.index.labels import read_labels
from data_modules.index.tables import find_table, read_table
from data_modules.mimic_cxr import SOURCE, TABLE, MIMICCXRDataModule
from data_modules.text.mimic_reports import UNREADABLE, read_reports, report_names

OFFICIAL = {"images": 377_110, "studies": 227_835}
NEEDED = {
    "split": ["dicom_id", "study_id", "subject_id", "split"],
    "metadata": ["dicom_id", "ViewPosition"],
    "chexpert": ["subject_id", "study_id"],
    "negbio": ["subject_id", "study_id"],
}


def examine(data: DataModule, result: CheckResult) -> pd.DataFrame:
    """All images whatever their view, with the texts there are; ``needed`` are those of ``data.views``."""
    assert isinstance(data, MIMICCXRDataModule)
    roots = [root for root in (data.image_root, data.report_root) if root is not None]
    read = {"split", *(["metadata"] if data.views else []), *([data.labels_from] if data.labels else [])}
    sound = set()
    for name, columns in NEEDED.items():
        there = [path for path in _places(roots, name) if path.is_file()]
        if there or name in read:
            with result.catching("table"):
                _table(find_table(roots, TABLE + name, SOURCE), there, columns, result)
                sound.add(name)
    if data.labels and data.labels_from in sound:
        with result.catching("table"):
            path = find_table(roots, TABLE + data.labels_from, SOURCE)
            _, faulty = read_labels(path, "study_id", data.labels, data.uncertain, data.blank)
            result.found("info", "label other than 1, 0, -1 and blank", faulty.values(), "left out")
    frame = data.samples_of([])
    result.counts |= {"images": len(frame), "studies": frame["study"].nunique()}
    for what, official in OFFICIAL.items():
        if result.counts[what] != official:
            result.add("info", "counts", f"{result.counts[what]:,} {what} listed, officially {official:,}")
    if data.views and data.image_root and "metadata" in sound:
        frame["needed"] = frame["id"].isin(data.samples_of(data.needed_positions)["id"])
    return _reports(frame, data, result) if data.report_root else frame


def _places(roots: list[Path], name: str) -> list[Path]:
    return [root / f"{TABLE}{name}{suffix}" for root in roots for suffix in (".csv.gz", ".csv")]


def _table(path: Path, there: list[Path], columns: list[str], result: CheckResult) -> None:
    table = read_table(path, columns)
    if len(there) > 1 and not read_table(there[1], columns).equals(table):
        result.add("error", "two tables", f"{there[0]} and {there[1]} differ; the first is read: delete the other")
    result.add("info", "table read", f"{there[0].name}: {len(table):,} rows")


def _reports(frame: pd.DataFrame, data: MIMICCXRDataModule, result: CheckResult) -> pd.DataFrame:
    assert data.report_root is not None
    names = report_names(frame["patient"], frame["study"])
    with result.catching("unreadable"):
        reports = read_reports(data.report_root, names.unique(), data.sections, data.encoding, data.text.min_tokens)
        problems = reports["problem"].dropna()
        try:
            refuse_many(len(problems), len(reports), lambda: problems.iloc[0])
            result.found("info", UNREADABLE, problems, "left out")
        except UserError:
            result.found("error", UNREADABLE, problems, "so many stop a run")
        for reason, group in reports[reports["problem"].isna()].groupby("reason"):
            severity: Severity = "warning" if reason in ("report missing", "report empty") else "info"
            result.found(severity, str(reason), group.index.astype(str), "left out")
        frame = frame.assign(text=names.map(reports["text"]))
    return frame
