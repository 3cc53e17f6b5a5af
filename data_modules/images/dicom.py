"""Read one DICOM radiograph as uint8 gray: rescale, VOI look-up table or window, then inversion of MONOCHROME1."""

import io
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_modules.boundary import boundary
from data_modules.errors import UserError
from data_modules.images.opened import MOST_BYTES, Source, opened

if TYPE_CHECKING:
    from pydicom import FileDataset

MOST_PIXELS = 178_956_970
"""Largest picture; Pillow has the same limit."""
_META = 4096
_GROUP_LENGTH = slice(140, 144)
"""Bytes of a file that hold the length of its first group."""
_DEFLATED, _PLAIN = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1\0\0\0"
_REMEDY = "download it again"


def read_dicom(source: Source, name: str | Path) -> np.ndarray:
    """The radiograph as it is meant to be displayed: uint8 (H, W), dense tissue bright; ``name`` is for errors.

    The first VOI look-up table or window of the header chooses the values that become 0 to 255. A table covers the
    bits that its entries use, because some descriptors announce more. A window narrower than 1 is read as
    LINEAR_EXACT, because LINEAR is not defined for it. Without table and window, the range of the image's own values
    is used, without padding, which becomes black.

    Raises:
        UserError: missing, not DICOM, without pixel data, or not one gray frame; a window without a width; more than
            ``MOST_PIXELS`` pixels or ``MOST_BYTES`` bytes.
    """
    header, stored = _read(source, name)
    with boundary(f"{name}: found pixels that its header does not fit", _REMEDY):
        return _displayed(header, stored, name)


def stored_pixels(source: Source, name: str | Path) -> np.ndarray:
    """The stored values (H, W), without look-up table or window. Arguments and errors as of :func:`read_dicom`."""
    return _read(source, name)[1]


def dicom_size(source: Source, name: str | Path) -> tuple[int, int]:
    """(width, height) according to the header. Arguments and errors as of :func:`read_dicom`."""
    header = _dataset(source, name, header_only=True)
    with boundary(f"{name}: found a DICOM header without a size", _REMEDY):
        return int(header.Columns), int(header.Rows)


def _read(source: Source, name: str | Path) -> "tuple[FileDataset, np.ndarray]":
    header = _dataset(source, name)
    if "PixelData" not in header:
        raise UserError(f"{name}: found a DICOM header without pixel data, expected an image; download it again")
    with boundary(f"{name}: pixel data cannot be decoded", _REMEDY):
        pixels = int(header.Rows) * int(header.Columns) * int(header.get("NumberOfFrames") or 1)
        if pixels > MOST_PIXELS:
            raise UserError(f"{name}: found {pixels:,} pixels, expected at most {MOST_PIXELS:,}; resize the file first")
        stored = header.pixel_array
    kind = header.get("PhotometricInterpretation", "")
    if stored.ndim != 2 or not str(kind).startswith("MONOCHROME"):
        raise UserError(
            f"{name}: found {kind} pixels of shape {stored.shape}, expected one gray frame; export a single frame"
        )
    return header, stored


def _dataset(source: Source, name: str | Path, header_only: bool = False) -> "FileDataset":
    import pydicom

    with boundary(f"{name}: not a DICOM file", _REMEDY), opened(source, name) as file:
        start = file.read(_META)
        content = _inflated(start + file.read(), name) if _DEFLATED in start else file
        content.seek(0)
        return pydicom.dcmread(content, stop_before_pixels=header_only)


def _inflated(raw: bytes, name: str | Path) -> io.BytesIO:
    """A deflated file as an uncompressed one, because pydicom would unpack it without a limit."""
    start = _GROUP_LENGTH.stop + int.from_bytes(raw[_GROUP_LENGTH], "little")
    content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(raw[start:], MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise UserError(f"{name}: unpacks to more than {MOST_BYTES:,} bytes, the limit; replace the file")
    return io.BytesIO(raw[:start].replace(_DEFLATED, _PLAIN) + content)


def _displayed(header: "FileDataset", stored: np.ndarray, name: str | Path) -> np.ndarray:
    from pydicom.pixels import apply_modality_lut, apply_voi, apply_windowing

    values = np.asarray(apply_modality_lut(stored, header), np.float64)
    padding = np.zeros(values.shape, bool)
    if header.get("VOILUTSequence"):
        entries, first, _ = header.VOILUTSequence[0].LUTDescriptor
        table = apply_voi(np.arange(first, first + (entries or 1 << 16)), header)
        values = np.asarray(apply_voi(values.astype(np.int64), header))
        low, high = 0.0, float((1 << int(table.max()).bit_length()) - 1)
    elif header.get("WindowWidth") is not None and header.get("WindowCenter") is not None:
        centre, width = (float(np.ravel(header[key].value)[0]) for key in ("WindowCenter", "WindowWidth"))
        if not width > 0:
            raise UserError(f"{name}: found window width {width:g}, expected more than 0; correct its header")
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
    """bool (H, W): the pixels that the header declares to lie outside the picture."""
    value = header.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, bool)
    ends = sorted((int(value), int(header.get("PixelPaddingRangeLimit", value))))
    return (stored >= ends[0]) & (stored <= ends[1])
