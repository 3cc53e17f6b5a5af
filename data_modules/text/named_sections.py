"""Sections of a report by the table of headings of its language; MIMIC-CXR's own rules are in ``sections``."""

import re
import unicodedata
from functools import lru_cache
from typing import Literal

from data_modules.text.languages import headings
from data_modules.text.sections import clean

NamedSections = Literal["whole", "findings+impression", "findings", "impression"]


def named_sections(report: str, language: str) -> list[tuple[str, str]]:
    """(section, raw text) of each heading in order; what stands before the first one is ``preamble``.

    A heading is one of the table, whatever its case and accents, with a colon, where the report, a line or a sentence
    begins.
    """
    report = unicodedata.normalize("NFC", report)
    names, found = _by_bare_form(language), [*_pattern(language).finditer(_bare(report))]
    starts = [match.start("heading") for match in found] + [len(report)]
    sections = [("preamble", report[: starts[0]])] if report[: starts[0]].strip() else []
    for match, end in zip(found, starts[1:], strict=True):
        sections.append((names[" ".join(match["heading"].lower().split())], report[match.end() : end]))
    return sections


def extract_named(report: str, sections: NamedSections, language: str) -> str | None:
    """The cleaned text of ``sections``, or None when the report has none of them; ``whole`` is everything.

    ``findings+impression`` is findings, then impression, where one suffices. Of several sections of one name that have
    a text the last wins.
    """
    if sections == "whole":
        return clean(report) or None
    found = {name: text for name, text in named_sections(report, language) if text.strip()}
    return clean(" ".join(found.get(name, "") for name in sections.split("+"))) or None


def _bare(text: str) -> str:
    """``text`` without accents, as long as before where it was composed (NFC)."""
    return text if text.isascii() else "".join(unicodedata.normalize("NFD", sign)[0] for sign in text)


@lru_cache
def _by_bare_form(language: str) -> dict[str, str]:
    return {_bare(heading): section for heading, section in headings(language).items()}


@lru_cache
def _pattern(language: str) -> re.Pattern[str]:
    longest_first = sorted(_by_bare_form(language), key=len, reverse=True)
    listed = "|".join(r"\s+".join(map(re.escape, heading.split())) for heading in longest_first)
    return re.compile(rf"(?:^|[.;!?\n])\s*(?P<heading>{listed})\s*:", re.IGNORECASE)
