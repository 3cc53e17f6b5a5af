"""Read MIMIC-CXR reports from the unpacked folder or straight from mimic-cxr-reports.zip."""

import zipfile
from collections.abc import Iterable
from itertools import islice
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pandas as pd
from rich.progress import track

from data_modules.boundary import boundary, read_bytes, refuse_special
from data_modules.errors import UserError
from data_modules.index.words import count_words
from data_modules.text.sections import Sections, extract

THREADS = 8
CHUNK = 200
LARGEST = 1 << 20
"""Bytes of a report; the real ones have at most a few thousand."""
MANY = 5000
"""Reports from which on a progress bar is shown."""
FIRST = 20
"""Patients that are looked at for reports."""
UNREADABLE = "report that cannot be read"


class ReportStore:
    """Reports named ``files/p10/p10000032/s50414267.txt``, below ``root``, ``root/mimic-cxr-reports`` or in a zip."""

    def __init__(self, root: Path) -> None:
        place = _place(root)
        if place is None:
            raise UserError(
                f"{root}: found no reports, expected files/p10/p10000032/s50414267.txt, mimic-cxr-reports/files/... or "
                "mimic-cxr-reports.zip (physionet.org/content/mimic-cxr); correct report_root or set it to null"
            )
        self.place, self.is_folder = place, place.is_dir()
        if not self.is_folder:
            refuse_special(place)
            with boundary(f"{place}: broken zip file", "download it again"):
                self._zip = zipfile.ZipFile(place)
            self._members = {name[name.find("files/") :]: name for name in self._zip.namelist() if "files/" in name}

    def read(self, name: str) -> bytes | None:
        """The raw bytes, or None when there is no such report."""
        path = self.place / name
        with boundary(f"{path}: cannot read the report", "download it again"):
            if self.is_folder:
                return read_bytes(path, LARGEST) if path.exists() else None
            if name not in self._members:
                return None
            if (size := self._zip.getinfo(self._members[name]).file_size) > LARGEST:
                raise UserError(f"{path}: found {size:,} bytes, expected a report of at most {LARGEST:,}")
            with self._zip.open(self._members[name]) as member:
                return member.read(LARGEST)


def report_names(subjects: pd.Series, studies: pd.Series) -> pd.Series:
    """Path of a study's report, NEXT TO the study folder: ``files/p10/p10000032/s50414267.txt``."""
    return "files/p" + subjects.str[:2] + "/p" + subjects + "/s" + studies + ".txt"


def has_reports(root: Path) -> bool:
    """Whether ``ReportStore`` would find reports there."""
    return _place(root) is not None


def _place(root: Path) -> Path | None:
    """The folder of ``files``, else the archive; None where ``root`` has neither."""
    archive = root if root.suffix == ".zip" else root / "mimic-cxr-reports.zip"
    packed = archive.is_file()
    folders = [folder for folder in (root, root / "mimic-cxr-reports") if (folder / "files").is_dir()]
    unpacked = (folder for folder in folders if not packed or _holds_reports(folder))
    return next(unpacked, archive if packed else None)


def _holds_reports(folder: Path) -> bool:
    """Whether the first patients in ``folder`` have reports: ``files`` may be that of images, beside the archive."""
    return any(any(patient.glob("s*.txt")) for patient in islice(folder.glob("files/*/*"), FIRST))


def read_reports(root: Path, names: Iterable[str], sections: Sections, encoding: str, min_words: int) -> pd.DataFrame:
    """The texts of reports.

    Returns:
        by report name: ``text``; ``reason`` why there is none (missing, empty, section, short, unreadable); and
        ``problem``, what is wrong with an unreadable one. UserError only where ``root`` has no reports at all.
    """
    store = ReportStore(root)

    def read(name: str) -> tuple[str | None, str | None, str | None]:
        try:
            return *_read(store, name, sections, encoding, min_words), None
        except UserError as error:
            return None, UNREADABLE, str(error)

    names = list(names)
    with ThreadPool(THREADS if store.is_folder else 1) as pool:  # a zip is read by one thread
        done = pool.imap(read, names, CHUNK)
        rows = list(track(done, "reading reports", total=len(names), disable=len(names) < MANY))
    return pd.DataFrame(rows, columns=["text", "reason", "problem"], index=names)


def _read(
    store: ReportStore, name: str, sections: Sections, encoding: str, min_words: int
) -> tuple[str | None, str | None]:
    raw = store.read(name)
    if raw is None:
        return None, "report missing"
    try:
        report = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{store.place / name}: found byte 0x{raw[error.start]:02x} at position {error.start}, "
            f"expected {encoding}; correct the file, or set data.encoding (latin-1 reads any byte)"
        ) from None
    if not report.strip():
        return None, "report empty"
    text = extract(report, sections, study=Path(name).stem)
    if text is None:
        return None, f"report without {sections.replace('+', ' or ')}"
    if count_words(text) < min_words:
        return None, f"report under {min_words} words"
    return text, None
