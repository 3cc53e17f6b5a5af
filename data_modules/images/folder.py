"""A folder of images as an index, for ``predict``."""

from pathlib import Path

import pandas as pd

from data_modules.errors import UserError
from data_modules.images.decode import DICOM
from data_modules.index.files import files_below

SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", *DICOM}


def folder_index(folder: Path) -> pd.DataFrame:
    """Every image below ``folder``, sorted; id, patient and study are the path inside the folder."""
    if not folder.is_dir():
        raise UserError(f"{folder}: folder not found; set data.folder to a folder of images")
    files = files_below(folder, SUFFIXES)
    if not files:
        raise UserError(f"{folder}: found no image, expected files ending in {', '.join(sorted(SUFFIXES))}")
    names = [path.relative_to(folder).as_posix() for path in files]
    frame = pd.DataFrame({"id": names, "patient": names, "study": names, "image": [str(path) for path in files]})
    return frame.assign(split="predict", group=range(len(frame)))
