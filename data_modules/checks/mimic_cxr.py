"""MIMIC-CXR: tables, labels and reports one by one, so that a fault in one does not hide the others."""

from pathlib import Path

import pandas as pd

from data_modules.base import DataModule
from data_modules.checks.result import CheckResult
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


def examine(data: DataModule, result: CheckResult) -> pd.DataFrame | None:
    """All images whatever their view, with the texts there are."""
    assert isinstance(data, MIMICCXRDataModule)
    roots = [root for root in (data.image_root, data.report_root) if root is not None]
    read = {"split", *(["metadata"] if data.views else []), *([data.labels_from] if data.labels else [])}
    bad = {
        name
        for name, columns in NEEDED.items()
        if (name in read or _is_there(roots, name)) and not _table(roots, name, columns, result)
    }
    if data.labels and data.labels_from not in bad:
        _labels(find_table(roots, TABLE + data.labels_from, SOURCE), data, result)
    try:
        frame = data.every_row()
    except UserError as error:
        result.add("error", "unreadable", str(error))
        return None
    result.counts |= {"images": len(frame), "studies": frame["study"].nunique()}
    for what, official in OFFICIAL.items():
        if result.counts[what] != official:
            result.add("info", "counts", f"{result.counts[what]:,} {what} listed, officially {official:,}")
    return _reports(frame, data, result) if data.report_root else frame


def _is_there(roots: list[Path], name: str) -> bool:
    return any((root / f"{TABLE}{name}{suffix}").is_file() for root in roots for suffix in (".csv.gz", ".csv"))


def _table(roots: list[Path], name: str, columns: list[str], result: CheckResult) -> bool:
    twins = [folder / f"{TABLE}{name}{suffix}" for folder in roots for suffix in (".csv.gz", ".csv")]
    there = [path for path in twins if path.is_file()]
    try:
        table = read_table(find_table(roots, TABLE + name, SOURCE), columns)
        if len(there) > 1 and not read_table(there[1], columns).equals(table):
            result.add("error", "two tables", f"{there[0]} and {there[1]} differ; the first is read: delete the other")
    except UserError as error:
        result.add("error", "table", str(error))
        return False
    result.add("info", "table read", f"{there[0].name}: {len(table):,} rows")
    return True


def _labels(path: Path, data: MIMICCXRDataModule, result: CheckResult) -> None:
    try:
        _, faulty = read_labels(path, "study_id", data.labels, data.uncertain, data.blank)
        result.found("info", "label other than 1, 0, -1 and blank", faulty.values(), "left out")
    except UserError as error:
        result.add("error", "table", str(error))


def _reports(frame: pd.DataFrame, data: MIMICCXRDataModule, result: CheckResult) -> pd.DataFrame:
    assert data.report_root is not None
    names = report_names(frame["patient"], frame["study"])
    try:
        reports = read_reports(data.report_root, names.unique(), data.sections, data.encoding, data.text.min_tokens)
    except UserError as error:
        result.add("error", "unreadable", str(error))
        return frame
    problems = reports["problem"].dropna()
    try:
        refuse_many(problems.tolist(), len(reports))
        result.found("info", UNREADABLE, problems, "left out")
    except UserError:
        result.found("error", UNREADABLE, problems, "so many stop a run")
    for reason, group in reports[reports["problem"].isna()].groupby("reason"):
        severity = "warning" if reason in ("report missing", "report empty") else "info"
        result.found(severity, str(reason), group.index.astype(str), "left out")  # type: ignore[arg-type]
    return frame.assign(text=names.map(reports["text"]))
