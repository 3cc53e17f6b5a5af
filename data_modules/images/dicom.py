"""Read one DICOM radiograph as uint8 gray: rescale, VOI look-up table or window, then inversion of MONOCHROME1."""

import io
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from data_modules.boundary import boundary, refuse_special
from data_modules.errors import UserError

if TYPE_CHECKING:
    from pydicom import FileDataset

MOST_PIXELS = 178_956_970
"""Of a picture; Pillow refuses as many."""
MOST_BYTES = 1 << 30
"""Of a file and of what a deflated one unpacks to."""
_META = 4096
_GROUP_LENGTH = slice(140, 144)
"""Where a file says how long its first group is, after 128 bytes, DICM and the element's own tag."""
_DEFLATED, _PLAIN = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1\0\0\0"
_REMEDY = "download it again"


def read_dicom(path: str | Path, source: IO[bytes] | None = None) -> np.ndarray:
    """uint8 (H, W), bright = dense, of any stored depth.

    The first VOI view is used; without one the values' own range, padding aside, which becomes black. The range of a
    window, not that of the image, becomes 0 to 255; of a table the bits that its entries use, as some descriptors
    announce more. A window narrower than 1, which LINEAR does not know, is LINEAR_EXACT.

    With ``source`` it is read from there, and ``path`` is for errors.

    Raises:
        UserError: missing, not DICOM, without pixel data, or not one gray frame; a window without a width; larger than
            ``MOST_PIXELS`` or ``MOST_BYTES``; with the path and the reason.
    """
    header, stored = _read(path, source)
    with boundary(f"{path}: found pixels that its header does not fit", _REMEDY):
        return _displayed(header, stored, str(path))


def stored_pixels(path: str | Path, source: IO[bytes] | None = None) -> np.ndarray:
    """(H, W) of the values as they are stored; arguments and errors as of :func:`read_dicom`."""
    return _read(path, source)[1]


def dicom_size(path: str | Path, source: IO[bytes] | None = None) -> tuple[int, int]:
    """(width, height) from the header; arguments and errors as of :func:`read_dicom`."""
    header = _dataset(path, source, header_only=True)
    with boundary(f"{path}: found a DICOM header without a size", _REMEDY):
        return int(header.Columns), int(header.Rows)


def _read(path: str | Path, source: IO[bytes] | None) -> "tuple[FileDataset, np.ndarray]":
    header = _dataset(path, source)
    if "PixelData" not in header:
        raise UserError(f"{path}: found a DICOM header without pixel data, expected an image; download it again")
    with boundary(f"{path}: pixel data cannot be decoded", _REMEDY):
        pixels = int(header.Rows) * int(header.Columns) * int(header.get("NumberOfFrames") or 1)
        if pixels > MOST_PIXELS:
            raise UserError(f"{path}: found {pixels:,} pixels, expected at most {MOST_PIXELS:,}; resize the file first")
        stored = header.pixel_array
    kind = header.get("PhotometricInterpretation", "")
    if stored.ndim != 2 or not str(kind).startswith("MONOCHROME"):
        raise UserError(f"{path}: found {kind} pixels of shape {stored.shape}, expected one gray frame")
    return header, stored


def _dataset(path: str | Path, source: IO[bytes] | None, header_only: bool = False) -> "FileDataset":
    import pydicom

    if source is None:
        if not Path(path).exists():
            raise UserError(f"{path}: image not found; complete the download, or set data.max_missing")
        if (size := refuse_special(Path(path)).st_size) > MOST_BYTES:
            raise UserError(f"{path}: found {size:,} bytes, expected at most {MOST_BYTES:,}; replace the file")
    with boundary(f"{path}: not a DICOM file", _REMEDY), Path(path).open("rb") if source is None else source as file:
        start = file.read(_META)
        content = _inflated(start + file.read(), path) if _DEFLATED in start else file
        content.seek(0)
        return pydicom.dcmread(content, stop_before_pixels=header_only)


def _inflated(raw: bytes, path: str | Path) -> io.BytesIO:
    """A deflated file as a plain one: the library would unpack it without a limit."""
    start = _GROUP_LENGTH.stop + int.from_bytes(raw[_GROUP_LENGTH], "little")
    content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(raw[start:], MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise UserError(f"{path}: unpacks to more than {MOST_BYTES:,} bytes, the limit; replace the file")
    return io.BytesIO(raw[:start].replace(_DEFLATED, _PLAIN) + content)


def _displayed(header: "FileDataset", stored: np.ndarray, path: str) -> np.ndarray:
    from pydicom.pixels import apply_modality_lut, apply_voi, apply_windowing

    values = np.asarray(apply_modality_lut(stored, header), np.float64)
    padding = np.zeros(values.shape, bool)
    if header.get("VOILUTSequence"):
        entries, first, _ = header.VOILUTSequence[0].LUTDescriptor
        table = apply_voi(np.arange(first, first + (entries or 1 << 16)), header)
        values = np.asarray(apply_voi(values.astype(np.int64), header))
        low, high = 0.0, float((1 << int(table.max()).bit_length()) - 1)
    elif header.get("WindowWidth") is not None and header.get("WindowCenter") is not None:
        centre, width = (float(np.ravel(header[name].value)[0]) for name in ("WindowCenter", "WindowWidth"))
        if not width > 0:
            raise UserError(f"{path}: found window width {width:g}, expected more than 0; correct its header")
        if width < 1 and header.get("VOILUTFunction", "LINEAR") == "LINEAR":
            header.VOILUTFunction = "LINEAR_EXACT"
        ends = np.array([centre - 20 * width, centre + 20 * width], np.float64)
        windowed = apply_windowing(np.concatenate([values.ravel(), ends]), header)
        values, low, high = windowed[:-2].reshape(values.shape), windowed[-2], windowed[-1]
    else:
        padding = _padding(header, stored)
        shown = values if padding.all() else values[~padding]
        low, high = float(shown.min()), float(shown.max())
    gray = np.clip((values - low) * (255 / (high - low) if high > low else 0), 0, 255).round().astype(np.uint8)
    if header.PhotometricInterpretation == "MONOCHROME1" or header.get("PresentationLUTShape") == "INVERSE":
        gray = 255 - gray
    gray[padding] = 0
    return gray


def _padding(header: "FileDataset", stored: np.ndarray) -> np.ndarray:
    """bool (H, W): pixels outside the picture."""
    value = header.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, bool)
    ends = sorted((int(value), int(header.get("PixelPaddingRangeLimit", value))))
    return (stored >= ends[0]) & (stored <= ends[1])
