"""Read one image file as uint8, gray or RGB, whatever its mode and bit depth."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from data_modules.dicom import read_dicom
from data_modules.hub import encoded_image, is_reference
from mpma_lightning.errors import UserError

DICOM = (".dcm", ".dicom")


def read_image(path: str | Path, channels: int = 1) -> np.ndarray:
    """uint8 (H, W) for ``channels`` 1, (H, W, 3) for 3.

    Transparency is flattened on black and palettes are resolved. Deeper than 8 bits: 16-bit files keep their upper
    8 bits when they use more than 12 bits; files that use fewer are scaled by the power of two that holds their
    maximum, so that a 10- or 12-bit radiograph is not black; floats are scaled from their own range.

    ``.dcm`` and ``.dicom`` are read by :func:`read_dicom`.

    Raises:
        UserError: missing, truncated or unreadable file, with its path and the reason.
    """
    if Path(path).suffix.lower() in DICOM:
        gray = read_dicom(path)
        return gray if channels == 1 else np.repeat(gray[..., None], 3, axis=2)
    try:
        with Image.open(encoded_image(str(path)) if is_reference(path) else path) as image:
            image.load()
            array = _eight_bits(image)
    except FileNotFoundError:
        raise UserError(f"{path}: image not found; complete the download, or set data.max_missing") from None
    except UnidentifiedImageError:
        raise UserError(f"{path}: not an image that Pillow can read; replace the file") from None
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: {error}; resize the file first") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        reason = str(error).replace("\n", " ")
        remedy = "download it again, or delete it and set data.max_missing to go on without it"
        raise UserError(f"{path}: broken image ({reason}); {remedy}") from None
    if channels == 3:
        return array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2)
    return array if array.ndim == 2 else np.asarray(Image.fromarray(array).convert("L"))


def image_exists(path: str) -> bool:
    """Whether there is a file; an image inside an Arrow table is always there."""
    return is_reference(path) or Path(path).is_file()


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
