"""Reading images of every mode and depth, and the errors."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_modules.errors import UserError
from data_modules.images.source import image_source

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "CMYK", "I;16", "I", "F"])
@pytest.mark.parametrize("channels", [1, 3])
def test_shape(tmp_path: Path, mode: str, channels: int) -> None:
    path = tmp_path / "image.tif"
    source = Image.fromarray(RAMP)
    if mode == "I;16":
        source = Image.fromarray(RAMP.astype(np.uint16) * 200)
    else:
        source = source.convert("RGB").convert(mode) if mode == "P" else source.convert(mode)
    source.save(path)
    image = image_source(path).read(channels)
    assert image.dtype == np.uint8 and image.shape == ((16, 16) if channels == 1 else (16, 16, 3))
    assert image.min() < 10 and image.max() > 190


def test_value_gray_is_kept(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    assert (image_source(tmp_path / "a.png").read() == RAMP).all()
    assert (image_source(tmp_path / "a.png").read(3)[..., 1] == RAMP).all()


def test_value_transparency_is_flattened_on_black(tmp_path: Path) -> None:
    pixels = np.full((4, 4, 4), 200, np.uint8)
    pixels[:2, :, 3], pixels[2:, :, 3] = 0, 255
    Image.fromarray(pixels, "RGBA").save(tmp_path / "a.png")
    image = image_source(tmp_path / "a.png").read()
    assert (image[:2] == 0).all() and (image[2:] == 200).all()


@pytest.mark.parametrize(("bits", "shift"), [(8, 0), (10, 2), (12, 4), (13, 5), (14, 6), (15, 7), (16, 8)])
def test_value_deep_images_are_scaled_by_their_depth(tmp_path: Path, bits: int, shift: int) -> None:
    values = np.linspace(0, 2**bits - 1, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert (image_source(tmp_path / "a.png").read() == values >> shift).all()


def test_error_truncated(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(UserError, match=r"cut\.jpg: broken image \(.*truncated.*\); download it again"):
        image_source(path).read()


def test_error_missing_and_not_an_image(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.jpg: image not found"):
        image_source(tmp_path / "none.jpg").read()
    (tmp_path / "page.jpg").write_text("<html>")
    with pytest.raises(UserError, match=r"page\.jpg: not an image"):
        image_source(tmp_path / "page.jpg").read()
