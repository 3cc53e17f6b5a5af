"""The phantom as SIIM-ACR Pneumothorax: nested DICOM files and ``train-rle.csv`` with its leading spaces."""

from pathlib import Path

import numpy as np

from data_modules.files import write_whole
from data_modules.images.run_lengths import encode_runs
from data_modules.phantom.dicom_files import write_dicom
from data_modules.phantom.tables import write_lists
from data_modules.phantom.truth import PhantomFilm


def write(films: list[PhantomFilm], out: Path) -> None:
    """Frontal films; a mask taller than a third of the film takes two rows, as several regions do in the real table.

    ``lists/`` has the phantom's own split.
    """
    films = [film for film in films if film.view != "LATERAL"]
    write_lists(out / "lists", ((film.id, film.split) for film in films))
    lines = ["ImageId, EncodedPixels"]
    for film in films:
        write_dicom(film, out / "dicom-images-train" / film.study / f"{film.study}.1" / f"{film.id}.dcm")
        mask = film.mask("Pneumothorax")
        rows = np.flatnonzero(mask.any(1))
        middle = int(rows.mean()) if len(rows) > film.rows / 3 else film.rows
        upper = np.arange(film.rows)[:, None] < middle
        parts = [part for part in (mask & upper, mask & ~upper) if part.any()] or [mask]
        lines += [f"{film.id}, {encode_runs(part)}" for part in parts]
    write_whole(out / "train-rle.csv", "\n".join(lines) + "\n")
