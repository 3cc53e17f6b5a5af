"""Sections of a radiology report by the official rules of MIT-LCP/mimic-cxr, and the cleaning of its text."""

import re
from typing import Literal

from data_modules.text.section_tables import EXCEPTION_SECTIONS, EXCEPTION_SLICES, SECTION_NAMES, VIEW_WORDS

Sections = Literal["findings+impression", "impression", "findings", "official", "whole"]

DEIDENTIFIED = "___"
"""One mark for every removed word: ``___`` of MIMIC-CXR (any length) and ``XXXX`` of Open-i."""

HEADER = re.compile(r"\n ([A-Z ()/,-]+):\s")
MAIN = ("impression", "findings", "history", "comparison", "addendum")
SELECTION = ("impression", "findings", "last_paragraph", "comparison")
BLANK_LINE = "\n \n"
_REMOVED = re.compile(r"_{2,}|X{4,}")


def section_name(header: str) -> str:
    """The official name of a header such as ``FINDINGS/IMPRESSION``."""
    name = header.lower().strip()
    if name in SECTION_NAMES:
        return SECTION_NAMES[name]
    contained = next((main for main in MAIN if main in name), None)
    if contained is not None:
        return contained
    return "findings" if any(words in name for words in VIEW_WORDS) else name


def split_sections(report: str) -> list[tuple[str, str]]:
    """(name, raw text) of each section in order; empty impression and findings are left out.

    ``report`` must have LF newlines and must not be stripped: a header needs its newline and one space.
    """
    sections: list[tuple[str, str]] = []
    header = HEADER.search(report)
    if header is None:
        sections.append(("full report", report))
    else:
        sections.append(("preamble", report[: header.start(1)]))
    while header is not None:
        name, start = section_name(header.group(1)), header.end()
        header = HEADER.search(report, max(report.find("\n", start), start))
        sections.append((name, report[start : header.start() if header else len(report)]))
    sections = [(name, text) for name, text in sections if name not in MAIN[:2] or text.strip()]
    if not {"impression", "findings"} & {name for name, _ in sections}:
        name, text = sections[-1]
        first, blank, rest = text.partition(BLANK_LINE)
        if blank:
            sections[-1:] = [(name, first), ("last_paragraph", rest)]
    return sections


def extract(report: str, sections: Sections = "findings+impression", study: str | None = None) -> str | None:
    """The cleaned text of a report, or None when it has none of ``sections``.

    "findings+impression" is findings, then impression, where one suffices; "official" is impression, else findings,
    else the last paragraph, else comparison; "whole" is everything. Of several sections of one name the last wins.
    ``study`` (``s50414267``) applies the 54 hand-made exceptions of the official code, which give the text of a
    study that has no usable section; they take the place of every choice but "whole".
    """
    report = report.replace("\r\n", "\n").replace("\r", "\n")
    if sections == "whole":
        return clean(report) or None
    if study in EXCEPTION_SLICES:
        first, last = EXCEPTION_SLICES[study]
        return clean(report[first:last]) or None
    found = dict(split_sections(report))
    if study in EXCEPTION_SECTIONS:
        return clean(found.get(EXCEPTION_SECTIONS[study], "")) or None
    if sections == "official":
        chosen = [next((found[name] for name in SELECTION if name in found), "")]
    elif sections == "findings+impression":
        chosen = [found.get("findings", ""), found.get("impression", "")]
    else:
        chosen = [found.get(sections, "")]
    return clean(" ".join(chosen)) or None


def clean(text: str) -> str:
    """White space to single spaces, removed words to ``___``; nothing else changes."""
    return " ".join(_REMOVED.sub(DEIDENTIFIED, text).split())
