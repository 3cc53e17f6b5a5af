"""Read one DICOM radiograph as uint8 gray: rescale, VOI look-up table or window, then inversion of MONOCHROME1."""

from pathlib import Path
from typing import IO

import numpy as np

from data_modules.errors import UserError


def read_dicom(path: str | Path, source: IO[bytes] | None = None) -> np.ndarray:
    """uint8 (H, W), bright = dense, of any stored depth.

    The first VOI view is used; without one the values' own range. The range of a window, not that of the image,
    becomes 0 to 255. With ``source`` it is read from there, and ``path`` is for errors.

    Raises:
        UserError: missing, not DICOM, without pixel data, or not one gray frame; with the path and the reason.
    """
    import pydicom
    from pydicom.pixels import apply_modality_lut, apply_voi, apply_windowing

    try:
        header = pydicom.dcmread(path if source is None else source)
    except FileNotFoundError:
        raise UserError(f"{path}: image not found; complete the download, or set data.max_missing") from None
    except (pydicom.errors.InvalidDicomError, OSError, EOFError) as error:
        raise UserError(f"{path}: not a DICOM file ({error}); download it again") from None
    if "PixelData" not in header:
        raise UserError(f"{path}: found a DICOM header without pixel data, expected an image; download it again")
    try:
        stored = header.pixel_array
    except Exception as error:  # every decoder plug-in has its own exception types
        raise UserError(f"{path}: pixel data cannot be decoded ({' '.join(str(error).split())[:200]})") from None
    kind = header.get("PhotometricInterpretation", "")
    if stored.ndim != 2 or not kind.startswith("MONOCHROME"):
        raise UserError(f"{path}: found {kind} pixels of shape {stored.shape}, expected one gray frame")
    values = np.asarray(apply_modality_lut(stored, header), np.float64)
    low, high = float(values.min()), float(values.max())
    if header.get("VOILUTSequence"):
        table = header.VOILUTSequence[0].LUTDescriptor
        values, low, high = np.asarray(apply_voi(values.astype(np.int64), header)), 0.0, float(2 ** table[2] - 1)
    elif header.get("WindowWidth") and header.get("WindowCenter") is not None:
        centre, width = (np.ravel(header[name].value)[0] for name in ("WindowCenter", "WindowWidth"))
        ends = np.array([centre - 20 * width, centre + 20 * width], np.float64)
        windowed = apply_windowing(np.concatenate([values.ravel(), ends]), header)
        values, low, high = windowed[:-2].reshape(values.shape), windowed[-2], windowed[-1]
    gray = np.clip((values - low) * (255 / (high - low) if high > low else 0), 0, 255).round().astype(np.uint8)
    return 255 - gray if kind == "MONOCHROME1" else gray


def dicom_size(source: str | Path | IO[bytes]) -> tuple[int, int]:
    """(width, height) from the header of a DICOM file that ``read_dicom`` reads."""
    import pydicom

    header = pydicom.dcmread(source, stop_before_pixels=True)
    return int(header.Columns), int(header.Rows)
