"""The phantom as Open-i in all three forms: the archive with PNG images, Kaggle's tables, R2Gen's `annotation.json`."""

import gzip
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from PIL import Image

from data_modules.files import write_whole
from data_modules.phantom.layouts import link
from data_modules.phantom.tables import Row, write_table
from data_modules.phantom.truth import PhantomFilm
from data_modules.text.openi_tables import ANNOTATION, ARCHIVE, HEADERS, PROJECTIONS, REPORTS
from data_modules.text.sections import split_sections

LICENCE = "http://creativecommons.org/publicdomain/zero/1.0/"
TERMS = {
    "Atelectasis": "atelectases",
    "Cardiomegaly": "cardiomegaly",
    "Edema": "pulmonary edema",
    "Fracture": "rib fracture",
    "Lung Opacity": "opacity",
    "Pleural Effusion": "pleural effusions",
    "Pneumonia": "pneumonia",
    "Pneumothorax": "pneumothorax",
}
"""Automatic MeSH terms; a lung lesion is nodule or mass by its kind."""
UNSEEN = 5
"""The header table leaves the view of one image in so many blank."""


def write(films: list[PhantomFilm], out: Path) -> None:
    """A report a study; like the original, report 1 names its images otherwise than the header table does."""
    studies: dict[str, list[PhantomFilm]] = {}
    for film in films:
        studies.setdefault(film.study, []).append(film)
    members: dict[str, str] = {}
    headers: list[Row] = []
    reports: list[Row] = []
    projections: list[Row] = []
    annotation: dict[str, list[Row]] = {"train": [], "val": [], "test": []}
    for number, own in enumerate(studies.values(), start=1):
        sections = dict(split_sections(own[0].report.read_text()))
        texts = {name: " ".join(sections.get(name, "").split()) for name in ("findings", "impression")}
        names = [f"{number}_IM-{number:04d}-{place}001" for place in range(1, len(own) + 1)]
        for film, name in zip(own, names, strict=True):
            side = "Lateral" if film.view == "LATERAL" else "Frontal"
            _save(film.image, out / "NLMCXR_png" / f"{_image_id(number, name)}.png")
            projections.append({"uid": number, "filename": f"{name}.dcm.png", "projection": side})
            blank = len(headers) % UNSEEN == UNSEEN - 1
            headers.append({"imageid": f"CXR{name}", "View Position": "" if blank else film.view})
        members[f"ecgen-radiology/{number}.xml"] = _xml(number, names, texts, own)
        reports.append({"uid": number, "MeSH": "", "Problems": "", "image": "", **texts})
        if len(own) == 2 and texts["findings"]:
            study = f"CXR{names[0][:-5]}"
            for place, name in enumerate(names):
                link(out / "NLMCXR_png" / f"{_image_id(number, name)}.png", out / "images" / study / f"{place}.png")
            split = {"validate": "val"}.get(own[0].split, own[0].split)
            paths = [f"{study}/{place}.png" for place in range(2)]
            annotation[split].append({"id": study, "report": texts["findings"], "image_path": paths, "split": split})
    write_whole(out / ARCHIVE, _archive(members))
    write_table(out / HEADERS[0], ("imageid", "View Position"), headers)
    columns = ("uid", "MeSH", "Problems", "image", "indication", "comparison", "findings", "impression")
    write_table(out / REPORTS, columns, reports)
    write_table(out / PROJECTIONS, ("uid", "filename", "projection"), projections)
    write_whole(out / ANNOTATION, json.dumps(annotation))


def _image_id(number: int, name: str) -> str:
    return f"CXR1_{name}" if number == 1 else f"CXR{name}"


def _save(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as image:
        image.save(target)


def _xml(number: int, names: Sequence[str], texts: dict[str, str], films: Sequence[PhantomFilm]) -> str:
    terms = {term for label, term in TERMS.items() if films[0].labels[label]}
    terms |= {str(f["kind"]) for film in films for f in film.findings if f["name"] == "Lung Lesion"}
    parts = {"COMPARISON": "", "INDICATION": "", **{name.upper(): text for name, text in texts.items()}}
    lines = [
        f'<eCitation><uId id="CXR{number}"/><licenseURL>{LICENCE}</licenseURL><Abstract>',
        *(f'<AbstractText Label="{name}">{escape(text)}</AbstractText>' for name, text in parts.items()),
        "</Abstract><MeSH>",
        *(f"<automatic>{escape(term)}</automatic>" for term in sorted(terms)),
        "</MeSH>",
        *(f'<parentImage id="{_image_id(number, name)}"/>' for name in names),
        "</eCitation>",
    ]
    return "\n".join(lines)


def _archive(members: dict[str, str]) -> bytes:
    """The same members give the same bytes."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, text in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data := text.encode())
            tar.addfile(entry, io.BytesIO(data))
    return gzip.compress(plain.getvalue(), 6, mtime=0)
