"""Decode one image file as uint8, gray or RGB, whatever its mode and bit depth; shrink it once if asked."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from data_modules.boundary import boundary, refuse_special
from data_modules.errors import UserError
from data_modules.images.dicom import dicom_size, read_dicom, stored_pixels

DICOM = (".dcm", ".dicom")
_REMEDY = "download it again, or delete it and set data.max_missing to go on without it"
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPPING = {_TURNS[orientation] for orientation in (5, 6, 7, 8)}


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
    source: str | Path | IO[bytes],
    name: str | Path,
    short_side: int | None = None,
    enough: int | None = None,
    upright: bool = False,
) -> np.ndarray:
    """uint8 (H, W) of a gray file, (H, W, 3) of a coloured one, shrunk to ``short_side``; ``name`` is for errors.

    A JPEG is decoded at the half, quarter or eighth that is not below the size wanted, which saves most of the work;
    without ``short_side`` this stops there, with a shorter side of ``enough`` or more.

    The picture is turned upright by its EXIF orientation, unless it is said to be ``upright`` already. Transparency is
    flattened on black and palettes are resolved. Files deeper than 8 bits are scaled by the power of two that holds
    their maximum, so that a radiograph of 10 to 15 bits is not dark; floats are scaled from their own range.

    ``.dcm`` and ``.dicom`` are read by :func:`read_dicom`.

    Raises:
        UserError: missing, truncated or unreadable file, with its path and the reason.
    """
    if is_dicom(name):
        gray = read_dicom(name, None if isinstance(source, str | Path) else source)
        return resize_once(gray, shrunk_size((gray.shape[1], gray.shape[0]), short_side))
    with _opened(source, name) as image:
        turn = None if upright else _turn(image)
        size = shrunk_size(image.size, short_side)
        least = size if short_side else enough and (enough, enough)
        if least and image.format == "JPEG":
            image.draft(image.mode, least)
        image.load()
        array = _eight_bits(image)
        array = resize_once(array, size) if short_side else array
        return array if turn is None else np.ascontiguousarray(Image.fromarray(array).transpose(turn))


def decode_mask(source: str | Path | IO[bytes], name: str | Path) -> np.ndarray:
    """bool (H, W), upright: where an image file is not zero, whatever its mode and depth; ``name`` is for errors.

    A colour is zero where it is black or wholly transparent. A palette whose first colour is black is one of labels:
    its other entries are not zero even where they are black.

    Raises:
        UserError: as of :func:`decode`.
    """
    if is_dicom(name):
        return stored_pixels(name, None if isinstance(source, str | Path) else source) != 0
    with _opened(source, name) as image:
        turn = _turn(image)
        image.load()
        upright = image if turn is None else image.transpose(turn)
        if upright.mode == "P" and not any((upright.getpalette() or [0])[:3]):
            return np.asarray(upright) != 0
        if upright.mode == "1" or upright.mode[0] in "LIF":
            values = np.asarray(upright)
            return values[..., 0] * (values[..., 1] > 0) != 0 if values.ndim == 3 else values != 0
        colours = np.asarray(upright.convert("RGBA"))
        return (colours[..., :3] != 0).any(axis=2) & (colours[..., 3] > 0)


def encoded_size(source: str | Path | IO[bytes], name: str | Path) -> tuple[int, int]:
    """(width, height) of an image file, upright, from its header; ``name`` is for errors.

    Raises:
        UserError: missing or unreadable file, with its path and the reason.
    """
    if is_dicom(name):
        return dicom_size(name, None if isinstance(source, str | Path) else source)
    with _opened(source, name) as image:
        return image.size[::-1] if _turn(image) in _SWAPPING else image.size


def is_upright(image: Image.Image) -> bool:
    """Whether an image that is not loaded yet needs no turning."""
    return _turn(image) is None


@contextmanager
def _opened(source: str | Path | IO[bytes], name: str | Path) -> Iterator[Image.Image]:
    """An image file of Pillow's; whatever goes wrong with it inside is a UserError.

    Pillow gets an open file and no path: of a path it maps uncompressed TIFF, with its sides swapped if it is turned.
    """
    if isinstance(source, str | Path):
        if not Path(source).exists():
            raise UserError(f"{name}: image not found; complete the download, or set data.max_missing")
        refuse_special(Path(source))
    with boundary(f"{name}: broken image", _REMEDY):
        try:
            with ExitStack() as stack:
                file = stack.enter_context(Path(source).open("rb")) if isinstance(source, str | Path) else source
                yield stack.enter_context(Image.open(file))
        except UnidentifiedImageError:
            raise UserError(f"{name}: not an image that Pillow can read; replace the file") from None
        except Image.DecompressionBombError as error:
            raise UserError(f"{name}: {error}; resize the file first") from None


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What makes an image upright by its EXIF orientation; to be asked before it is loaded.

    Pillow turns TIFF itself. A PNG has its EXIF before its pixels, or none: to look behind them is to decode it.
    """
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return None
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a broken EXIF block says nothing about a picture that is sound
        return None


def is_dicom(name: str | Path) -> bool:
    """Whether a file is DICOM, by its ending."""
    return Path(name).suffix.lower() in DICOM


def _eight_bits(image: Image.Image) -> np.ndarray:
    """(H, W) of a gray image, (H, W, 3) of a coloured one."""
    if image.mode in ("L", "RGB"):
        return np.asarray(image)
    if image.mode == "1":
        return np.asarray(image.convert("L"))
    if image.mode.startswith("I"):
        return _scale(np.asarray(image).astype(np.int64))
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        span = values.max() - values.min()
        return ((values - values.min()) * (255 / span if span else 0)).round().astype(np.uint8)
    if "A" in image.getbands() or "transparency" in image.info:
        layers = image.convert("RGBA")
        black = Image.new("RGBA", layers.size, (0, 0, 0, 255))
        flat = Image.alpha_composite(black, layers).convert("RGB")
        return np.asarray(flat.convert("L") if image.mode in ("LA", "La") else flat)
    return np.asarray(image.convert("RGB"))


def _scale(values: np.ndarray) -> np.ndarray:
    values = values - min(int(values.min()), 0)
    bits = max(int(values.max()).bit_length(), 8)
    return (values >> (bits - 8)).astype(np.uint8)
