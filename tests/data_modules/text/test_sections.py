"""Report sections by the official rules, cleaning, and the Open-i reader."""

import io
import tarfile
from pathlib import Path
from statistics import median

import pytest

from data_modules.errors import UserError
from data_modules.index.words import count_words, normalise
from data_modules.text.openi_reports import read_openi
from data_modules.text.section_tables import EXCEPTION_SECTIONS, EXCEPTION_SLICES
from data_modules.text.sections import clean, extract, section_name, split_sections


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("IMPRESSION", "impression"),
        ("CONCLUSION", "impression"),
        ("FINDINGS AND IMPRESSION", "impression"),
        ("NDICATION", "impression"),
        ("IMPRESSION AND PLAN", "impression"),
        ("FINDINDGS", "findings"),
        ("CHEST, TWO VIEWS", "findings"),
        ("LEFT RIBS", "findings"),
        ("PFI", "history"),
        ("HISTORY OF PRESENT ILLNESS", "history"),
        ("WET READ", "wet read"),
        ("RECOMMENDATION(S)", "recommendations"),
        ("SOMETHING ELSE", "something else"),
    ],
)
def test_value_names(header: str, name: str) -> None:
    assert section_name(header) == name


def test_value_sections() -> None:
    report = "  FINAL REPORT\n EXAM:  CHEST\n\n FINDINGS: Clear lungs.\n Normal heart.\n\n IMPRESSION: No disease.\n"
    assert [name for name, _ in split_sections(report)] == ["preamble", "examination", "findings", "impression"]
    assert extract(report) == "Clear lungs. Normal heart. No disease."
    assert extract(report, "impression") == "No disease."
    assert extract(report, "findings") == "Clear lungs. Normal heart."
    assert (
        extract(report, "whole")
        == "FINAL REPORT EXAM: CHEST FINDINGS: Clear lungs. Normal heart. IMPRESSION: No disease."
    )
    assert extract(report.replace("\n", "\r\n")) == extract(report)


def test_value_header_needs_a_newline_and_a_space() -> None:
    for spaces, found in (("", False), (" ", True), ("   ", True), ("\t", False)):
        names = [name for name, _ in split_sections(f"A\n{spaces}IMPRESSION: Clear.\n")]
        assert ("impression" in names) is found


def test_value_header_on_the_line_of_a_header_is_text() -> None:
    assert extract("x\n FINDINGS: IMPRESSION: clear\n", "findings") == "IMPRESSION: clear"


def test_value_empty_title_is_dropped_and_the_last_of_a_name_wins() -> None:
    report = "x\n CHEST, PA AND LATERAL:\n\n\n FINDINGS: Old.\n\n FINDINGS: New.\n"
    assert [text.strip() for name, text in split_sections(report) if name == "findings"] == ["Old.", "New."]
    assert extract(report) == "New."


def test_value_last_paragraph() -> None:
    report = "x\n COMPARISON: None.\n \n The lungs are clear.\n \n No effusion.\n"
    assert extract(report) is None and extract(report, "impression") is None
    assert extract(report, "official") == "The lungs are clear. No effusion."
    assert extract("x\n COMPARISON: None.\n", "official") == "None."
    assert extract("no header at all", "official") is None


def test_value_exceptions() -> None:
    assert (len(EXCEPTION_SECTIONS), len(EXCEPTION_SLICES)) == (23, 31)
    assert sum(place == (0, 0) for place in EXCEPTION_SLICES.values()) == 8
    assert extract("0123456789" * 50, study="s50525523") == ("0123456789" * 50)[201:349]
    assert extract("x\n IMPRESSION: Clear.\n", study="s58235663") is None
    assert extract("x\n TECHNIQUE: No pneumonia.\n", study="s59279892") == "No pneumonia."


def test_value_cleaning() -> None:
    assert clean("  a\n\tb   _____ c XXXX, x-XXXX-year XXX ") == "a b ___ c ___, x-___-year XXX"
    assert normalise("No  acute, disease___ 1.5cm!") == "no acute disease 1 5cm"
    assert count_words("No ___ (acute) 1.5 .") == 4


def test_error_openi(tmp_path: Path) -> None:
    path = tmp_path / "NLMCXR_reports.tgz"
    with pytest.raises(UserError, match="not found"):
        list(read_openi(path))
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="broken archive"):
        list(read_openi(path))
    for body, reason in ((b"<a>", "broken XML"), (b'<!DOCTYPE a [<!ENTITY b "c">]><a/>', "entities")):
        with tarfile.open(path, "w:gz") as tar:
            member = tarfile.TarInfo("ecgen-radiology/1.xml")
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
        with pytest.raises(UserError, match=rf"ecgen-radiology/1\.xml.*{reason}"):
            list(read_openi(path))


def test_value_openi_counts(sample_data: Path) -> None:
    """data-formats.md, section 5."""
    reports = list(read_openi(sample_data / "openi_reports" / "NLMCXR_reports.tgz"))
    assert len(reports) == len({report["uid"] for report in reports}) == 3955
    has = [(bool(report["findings"]), bool(report["impression"])) for report in reports]
    assert [has.count(pair) for pair in ((True, True), (False, True), (True, False), (False, False))] == [
        3419,
        502,
        6,
        28,
    ]
    images = [len(report["images"]) for report in reports]
    assert [images.count(n) for n in range(6)] == [104, 446, 3208, 181, 15, 1] and sum(images) == 7470
    assert median(len(report["findings"].split()) for report in reports if report["findings"]) == 29
    assert median(len(report["impression"].split()) for report in reports if report["impression"]) == 5
    assert sum("XXXX" in report["findings"] + report["impression"] for report in reports) == 1855
    assert len({(report["findings"], report["impression"]) for report in reports}) == 3160
    assert all("by-nc-nd" in report["licence"] for report in reports)
