"""Decode one image file as uint8, gray or RGB, whatever its mode and bit depth; shrink it once if asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

import cv2
import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from data_modules.boundary import boundary
from data_modules.errors import UserError
from data_modules.images.dicom import dicom_size, read_dicom, stored_pixels
from data_modules.images.opened import Source, opened

DICOM = (".dcm", ".dicom")
_REMEDY = "download it again, or delete it and set data.max_missing to go on without it"
_EXIF_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def with_channels(array: np.ndarray, channels: int) -> np.ndarray:
    """(H, W) for ``channels`` 1, (H, W, 3) for 3, of a uint8 image that is either."""
    if channels == 3:
        return array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2)
    return array if array.ndim == 2 else np.asarray(Image.fromarray(array).convert("L"))


def shrunk_size(size: tuple[int, int], short_side: int | None) -> tuple[int, int]:
    """(width, height) with a shorter side of ``short_side``; nothing is enlarged, None leaves everything."""
    if short_side is None or min(size) <= short_side:
        return size
    width, height = (max(round(side * short_side / min(size)), 1) for side in size)
    return width, height


def resize_once(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The image at ``size`` (width, height) by averaging areas: the one shrinking step before any crop."""
    if (image.shape[1], image.shape[0]) == size:
        return image
    cv2.setNumThreads(0)  # threads of OpenCV and forked workers do not mix
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def decode(
    source: Source, name: str | Path, short_side: int | None = None, enough: int | None = None, upright: bool = False
) -> np.ndarray:
    """The pixels of an image file: uint8 (H, W) of a gray one, (H, W, 3) of a coloured one.

    Files deeper than 8 bits are divided by the power of two that brings their maximum below 256, so that a radiograph
    of 10 to 15 bits is not dark; floats are scaled from their own range. Transparency is flattened on black, palettes
    are resolved, and the EXIF orientation is applied. DICOM files are read by :func:`read_dicom`.

    Args:
        source: the file.
        name: for errors; ``.dcm`` and ``.dicom`` are DICOM.
        short_side: a larger image is shrunk until its shorter side has this many pixels.
        enough: without ``short_side``: a JPEG may be decoded at a half, quarter or eighth of its size, which is
            faster, as long as its shorter side keeps this many pixels.
        upright: the pixels are upright already, and the EXIF orientation is ignored.

    Raises:
        UserError: missing, truncated or unreadable file, with its name and the reason.
    """
    if is_dicom(name):
        gray = read_dicom(source, name)
        return resize_once(gray, shrunk_size((gray.shape[1], gray.shape[0]), short_side))
    with _pillow(source, name) as (image, _):
        orientation = 1 if upright else _orientation(image)
        size = shrunk_size(image.size, short_side)
        least = size if short_side else enough and (enough, enough)
        if least and image.format == "JPEG":
            image.draft(image.mode, least)
        image.load()
        array = _eight_bits(image)
        return _turned(resize_once(array, size) if short_side else array, orientation)


def decode_mask(source: Source, name: str | Path) -> np.ndarray:
    """Where a mask is not zero: bool (H, W), upright, of any mode and depth. Arguments and errors as of :func:`decode`.

    A colour is zero where it is black or wholly transparent. A palette whose first colour is black holds labels: its
    other entries are not zero, even where they are black too.
    """
    if is_dicom(name):
        return stored_pixels(source, name) != 0
    with _pillow(source, name) as (image, file):
        orientation, deep = _orientation(image), ";16" in str(image.tile)
        image.load()
        labels = image.mode == "P" and not any((image.getpalette() or [0])[:3])
        if labels or (image.mode != "P" and len(image.getbands()) == 1):
            return _turned(np.asarray(image) != 0, orientation)
        colours = _deep_colours(file) if deep else np.asarray(image.convert("RGBA"))
        seen = colours[..., :3].any(axis=2) & colours[..., 3:].all(axis=2)
        return _turned(np.asarray(seen), orientation)


def _deep_colours(file: IO[bytes]) -> np.ndarray:
    """(H, W, 3 or 4) of 16 bits, of which Pillow keeps the upper 8 only."""
    file.seek(0)
    colours = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if colours is None or colours.ndim != 3:
        raise ValueError("16-bit colours that OpenCV cannot read")
    return colours


def encoded_size(source: Source, name: str | Path) -> tuple[int, int]:
    """(width, height) of an image file, upright, from its header. Arguments and errors as of :func:`decode`."""
    if is_dicom(name):
        return dicom_size(source, name)
    with _pillow(source, name) as (image, _):
        return image.size[::-1] if _orientation(image) >= 5 else image.size


def is_upright(image: Image.Image) -> bool:
    """Whether an image that is not loaded yet is upright as it is stored."""
    return _orientation(image) == 1


def is_dicom(name: str | Path) -> bool:
    """Whether a file is DICOM, by its ending."""
    return Path(name).suffix.lower() in DICOM


@contextmanager
def _pillow(source: Source, name: str | Path) -> Iterator[tuple[ImageFile.ImageFile, IO[bytes]]]:
    """An image file that Pillow has opened, and the file itself; whatever goes wrong with it inside is a UserError.

    Pillow gets an open file and no path: it memory-maps uncompressed TIFF of a path, with its sides swapped if turned.
    """
    with boundary(f"{name}: broken image", _REMEDY), opened(source, name) as file:
        try:
            with Image.open(file) as image:
                yield image, file
        except UnidentifiedImageError:
            raise UserError(f"{name}: not an image that Pillow can read; replace the file") from None
        except Image.DecompressionBombError as error:
            raise UserError(f"{name}: {error}; resize the file first") from None


def orientation_is_unknown(image: Image.Image) -> bool:
    """Whether an image that is not loaded yet has an EXIF orientation that cannot be read: it is taken for upright."""
    return _read_orientation(image) is None


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) to 8, of an image that is not loaded yet; 1 for a broken or unknown one."""
    return _read_orientation(image) or 1


def _read_orientation(image: Image.Image) -> int | None:
    """EXIF orientation of an image that is not loaded yet; 1 without one, None for a broken or unknown one.

    Pillow itself turns TIFF. The EXIF block of a PNG lies before its pixels, or must be looked for behind them, which
    would decode the image: only the former is read.
    """
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1
    try:
        read = image.getexif()
        if not read and not _is_empty_block(image.info.get("exif", b"")):
            return None  # Pillow reads nothing of a broken block, and says nothing
        found = read.get(_EXIF_ORIENTATION, 1)
        return found if found == 1 or found in _TURNS else None
    except Exception:  # the pixels may be sound nevertheless
        return None


def _is_empty_block(block: bytes) -> bool:
    """Whether an EXIF block is not there, or is sound and has no entries."""
    header = block.removeprefix(b"Exif\0\0")
    order: Literal["little", "big"] = "little" if header[:2] == b"II" else "big"
    if header[2:4] != (42).to_bytes(2, order):
        return not header
    first = int.from_bytes(header[4:8], order)
    return header[first : first + 2] == b"\0\0"


def _turned(array: np.ndarray, orientation: int) -> np.ndarray:
    if orientation == 1:
        return array
    return np.ascontiguousarray(Image.fromarray(array).transpose(_TURNS[orientation]))


def _eight_bits(image: Image.Image) -> np.ndarray:
    """uint8 (H, W) of a gray image, (H, W, 3) of a coloured one."""
    if image.mode == "1":
        image = image.convert("L")
    if image.mode in ("L", "RGB"):
        return np.asarray(image)
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        values -= min(int(values.min()), 0)
        bits = max(int(values.max()).bit_length(), 8)
        return (values >> (bits - 8)).astype(np.uint8)
    if image.mode == "F":
        floats = np.nan_to_num(np.asarray(image, dtype=np.float64))
        span = floats.max() - floats.min()
        return ((floats - floats.min()) * (255 / span if span else 0)).round().astype(np.uint8)
    if "A" in image.getbands() or "transparency" in image.info:
        layers = image.convert("RGBA")
        black = Image.new("RGBA", layers.size, (0, 0, 0, 255))
        flat = Image.alpha_composite(black, layers).convert("RGB")
        return np.asarray(flat.convert("L") if image.mode in ("LA", "La") else flat)
    return np.asarray(image.convert("RGB"))
