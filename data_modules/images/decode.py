"""Decode one image file as uint8, gray or RGB, whatever its mode and bit depth; shrink it once if asked."""

from pathlib import Path
from typing import IO

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from data_modules.errors import UserError
from data_modules.images.dicom import dicom_size, read_dicom

DICOM = (".dcm", ".dicom")


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
    source: str | Path | IO[bytes], name: str | Path, short_side: int | None = None, enough: int | None = None
) -> np.ndarray:
    """uint8 (H, W) of a gray file, (H, W, 3) of a coloured one, shrunk to ``short_side``; ``name`` is for errors.

    A JPEG is decoded at the half, quarter or eighth that is not below the size wanted, which saves most of the work;
    without ``short_side`` this stops there, with a shorter side of ``enough`` or more.

    Transparency is flattened on black and palettes are resolved. Deeper than 8 bits: 16-bit files keep their upper
    8 bits when they use more than 12 bits; files that use fewer are scaled by the power of two that holds their
    maximum, so that a 10- or 12-bit radiograph is not black; floats are scaled from their own range.

    ``.dcm`` and ``.dicom`` are read by :func:`read_dicom`.

    Raises:
        UserError: missing, truncated or unreadable file, with its path and the reason.
    """
    if is_dicom(name):
        gray = read_dicom(name, None if isinstance(source, str | Path) else source)
        return resize_once(gray, shrunk_size((gray.shape[1], gray.shape[0]), short_side))
    try:
        with Image.open(source) as image:
            size = shrunk_size(image.size, short_side)
            least = size if short_side else enough and (enough, enough)
            if least and image.format == "JPEG":
                image.draft(image.mode, least)
            image.load()
            array = _eight_bits(image)
            return resize_once(array, size) if short_side else array
    except FileNotFoundError:
        raise UserError(f"{name}: image not found; complete the download, or set data.max_missing") from None
    except UnidentifiedImageError:
        raise UserError(f"{name}: not an image that Pillow can read; replace the file") from None
    except Image.DecompressionBombError as error:
        raise UserError(f"{name}: {error}; resize the file first") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        reason = str(error).replace("\n", " ")
        remedy = "download it again, or delete it and set data.max_missing to go on without it"
        raise UserError(f"{name}: broken image ({reason}); {remedy}") from None


def encoded_size(source: str | Path | IO[bytes], name: str | Path) -> tuple[int, int]:
    """(width, height) of an image file; ``name`` is for errors.

    Raises:
        UserError: missing or unreadable file, with its path and the reason.
    """
    try:
        return source_size(source, name)
    except FileNotFoundError:
        raise UserError(f"{name}: image not found; complete the download, or set data.max_missing") from None
    except Exception as error:  # Pillow and pydicom have many
        reason = " ".join(str(error).split())
        raise UserError(f"{name}: broken image ({reason}); download it again") from None


def source_size(source: str | Path | IO[bytes], name: str | Path) -> tuple[int, int]:
    """(width, height) from the header of an image file."""
    if is_dicom(name):
        return dicom_size(source)
    with Image.open(source) as image:
        return image.size


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
    bits = 16 if 12 < bits <= 16 else bits
    return (values >> (bits - 8)).astype(np.uint8)
