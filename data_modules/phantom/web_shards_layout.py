"""The phantom as web shards: tar files of key.jpg, key.json and key.txt, a licence an item, some with two texts."""

import io
import json
import tarfile
from pathlib import Path

from data_modules.phantom.truth import PhantomFilm
from data_modules.text.sections import extract

PER_SHARD = 40
LICENCES = ("CC BY", "CC BY", "CC BY-NC", None)
SPLITS = {"train": "train", "validate": "val", "test": "test"}


def write(films: list[PhantomFilm], out: Path) -> None:
    """Frontal films; every fifth has no ``key.txt`` but the texts of findings and impression in its JSON."""
    for split, name in SPLITS.items():
        own = [film for film in films if film.split == split and film.view != "LATERAL"]
        for number, start in enumerate(range(0, len(own), PER_SHARD)):
            with tarfile.open(out / f"{name}-{number:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
                for place, film in enumerate(own[start : start + PER_SHARD], start):
                    _add(tar, place, film)


def _add(tar: tarfile.TarFile, place: int, film: PhantomFilm) -> None:
    report = film.report.read_text()
    told: dict[str, object] = {"pmcid": film.patient, "license": LICENCES[place % len(LICENCES)]}
    content = {"jpg": film.image.read_bytes()}
    parts = [text for section in ("findings", "impression") if (text := extract(report, section))]
    if place % 5 == 0:
        told["captions"] = parts
    else:
        content["txt"] = " ".join(parts).encode()
    content["json"] = json.dumps(told).encode()
    for ending, raw in content.items():
        header = tarfile.TarInfo(f"{film.id}.{ending}")  # of time and owner 0: the same bytes every time
        header.size = len(raw)
        tar.addfile(header, io.BytesIO(raw))
