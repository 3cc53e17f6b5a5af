"""Read Open-i (IU X-Ray) reports straight from NLMCXR_reports.tgz."""

import io
import tarfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from data_modules.boundary import boundary, read_bytes
from data_modules.errors import UserError
from data_modules.index.files import APPLE_DOUBLE

LARGEST = 1 << 20
"""Bytes of a report; the real ones have at most a few thousand."""
LARGEST_ARCHIVE = 1 << 28
"""Bytes that the archive may unpack to; the real one has some 25 million."""
MOST_MEMBERS = 100_000
"""The real archive has 3,955 reports."""


class OpeniReport(TypedDict):
    """Raw texts, possibly empty; ``images`` are ids such as ``CXR1_1_IM-0001-3001`` (append ``.png``), ``terms`` the
    MeSH terms that a program found in the report, in lower case."""

    uid: str
    findings: str
    impression: str
    images: list[str]
    licence: str
    terms: list[str]


def read_openi(archive: Path) -> Iterator[OpeniReport]:
    """Every report of the archive, in its order; nothing is unpacked.

    Raises:
        UserError: no such file, broken archive, a member that is not a report, a report that is broken.
    """
    if not archive.is_file():
        raise UserError(f"{archive}: not found; expected NLMCXR_reports.tgz (openi.nlm.nih.gov/faq)")
    content = io.BytesIO(read_bytes(archive, LARGEST_ARCHIVE))
    with boundary(f"{archive}: broken archive", "download it again"), tarfile.open(fileobj=content, mode="r:") as tar:
        for number, member in enumerate(tar):
            if member.size > LARGEST or number >= MOST_MEMBERS:
                raise UserError(
                    f"{archive}: {member.name} has {member.size:,} bytes and is member {number + 1:,}, expected at "
                    f"most {MOST_MEMBERS:,} reports of at most {LARGEST:,} bytes; download the archive again"
                )
            name = Path(member.name).name
            if not member.isfile() or not name.endswith(".xml") or name.startswith(APPLE_DOUBLE):
                continue
            if (file := tar.extractfile(member)) is not None:
                yield _parse(file.read(), f"{archive}: {member.name}")


def _parse(raw: bytes, name: str) -> OpeniReport:
    if b"<!ENTITY" in raw:  # expansion of entities is the one thing ElementTree does not guard
        raise UserError(f"{name}: declares XML entities, which no report of Open-i does; download the archive again")
    with boundary(f"{name}: broken XML", "download the archive again"):
        root = ET.fromstring(raw)
    texts = {node.get("Label", "").lower(): (node.text or "").strip() for node in root.iter("AbstractText")}
    uid, licence = root.find("uId"), root.find("licenseURL")
    return {
        "uid": uid.get("id", "") if uid is not None else "",
        "findings": texts.get("findings", ""),
        "impression": texts.get("impression", ""),
        "images": [node.get("id", "") for node in root.iter("parentImage")],
        "licence": (licence.text or "").strip() if licence is not None else "",
        "terms": [(node.text or "").strip().lower() for node in root.iter("automatic")],
    }
