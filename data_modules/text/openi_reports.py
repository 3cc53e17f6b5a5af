"""Read Open-i (IU X-Ray) reports straight from NLMCXR_reports.tgz."""

import tarfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from data_modules.errors import UserError

LARGEST = 1 << 20
"""Bytes; the real files have at most a few thousand."""


class OpeniReport(TypedDict):
    """Raw texts, possibly empty; ``images`` are ids such as ``CXR1_1_IM-0001-3001`` (append ``.png``)."""

    uid: str
    findings: str
    impression: str
    indication: str
    comparison: str
    images: list[str]
    licence: str


def read_openi(archive: Path) -> Iterator[OpeniReport]:
    """Every report of the archive, in its order; nothing is unpacked.

    Raises:
        UserError: no such file, broken archive, a member that is not a report, a report that is broken.
    """
    if not archive.is_file():
        raise UserError(f"{archive}: not found; expected NLMCXR_reports.tgz (openi.nlm.nih.gov/faq)")
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.isfile() and member.name.endswith(".xml"):
                    file = tar.extractfile(member)
                    if file is None or member.size > LARGEST:
                        raise UserError(f"{archive}: {member.name} has {member.size} bytes, expected a small report")
                    yield _parse(file.read(), f"{archive}: {member.name}")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{archive}: broken archive ({error}); download it again") from None


def _parse(raw: bytes, name: str) -> OpeniReport:
    if b"<!ENTITY" in raw:  # expansion of entities is the one thing ElementTree does not guard
        raise UserError(f"{name}: declares XML entities, which no report of Open-i does; download the archive again")
    try:
        root = ET.fromstring(raw)
    except ET.ParseError as error:
        raise UserError(f"{name}: broken XML ({error}); download the archive again") from None
    texts = {node.get("Label", "").lower(): (node.text or "").strip() for node in root.iter("AbstractText")}
    uid, licence = root.find("uId"), root.find("licenseURL")
    return {
        "uid": uid.get("id", "") if uid is not None else "",
        "findings": texts.get("findings", ""),
        "impression": texts.get("impression", ""),
        "indication": texts.get("indication", ""),
        "comparison": texts.get("comparison", ""),
        "images": [node.get("id", "") for node in root.iter("parentImage")],
        "licence": (licence.text or "").strip() if licence is not None else "",
    }
