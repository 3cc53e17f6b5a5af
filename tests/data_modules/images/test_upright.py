"""Depth, orientation and masks of image files: a right value for every kind."""

import io
import os
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_modules.checks.images import check_images
from data_modules.checks.result import CheckResult
from data_modules.errors import UserError
from data_modules.images.annotations import read_mask
from data_modules.images.decode import decode, decode_mask, encoded_size
from data_modules.images.source import image_source
from data_modules.store.shards import Options, read_and_encode

RAMP = np.linspace(0, 1, 64).reshape(8, 8)


@pytest.mark.parametrize("bits", [9, 10, 11, 12, 13, 14, 15, 16])
def test_value_every_depth_reaches_white(bits: int, tmp_path: Path) -> None:
    Image.fromarray((RAMP * (2**bits - 1)).astype(np.uint16)).save(tmp_path / "a.png")
    found = decode(tmp_path / "a.png", "a.png")
    assert found.min() == 0 and found.max() == 255
    assert np.abs(found - RAMP * 255).max() <= 1.0


def test_value_depth_cases(sample_cases: Path) -> None:
    tops = {path.stem: int(decode(path, path).max()) for path in (sample_cases / "depth_13_14_15/images").iterdir()}
    assert tops == dict.fromkeys(["b8", "b10", "b12", "b13", "b14", "b15", "b16"], 255)


def oriented(path: Path, picture: np.ndarray, orientation: int) -> Path:
    """``picture`` stored so that ``orientation`` makes it upright: the inverse of what a reader has to do."""
    stored = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.T,
        6: np.rot90(picture),
        7: picture[::-1, ::-1].T,
        8: np.rot90(picture, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, quality=100)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp"])
def test_value_exif_is_applied_once(orientation: int, ending: str, tmp_path: Path) -> None:
    picture = np.full((16, 32), 20, np.uint8)
    picture[:8, :16] = 230
    path = oriented(tmp_path / f"a.{ending}", picture, orientation)
    found = decode(path, path)
    found = found if found.ndim == 2 else found[..., 0]
    assert found.shape == (16, 32) and np.abs(found.astype(int) - picture).max() <= 12
    assert encoded_size(path, path) == (32, 16)
    assert (decode_mask(oriented(tmp_path / "m.png", np.where(picture > 99, 1, 0).astype(np.uint8), orientation), "m")
            == (picture > 99)).all()  # fmt: skip
    for payload in ("jpeg", "raw"):
        row = read_and_encode(str(path), "a", Options(768, payload, 100))  # type: ignore[arg-type]
        assert (row["width"], row["height"], row["source_width"], row["source_height"]) == (32, 16, 32, 16)
        if payload == "jpeg":
            again = decode(io.BytesIO(row["payload"]), "stored")  # type: ignore[arg-type]
            again = again if again.ndim == 2 else again[..., 0]
            assert np.abs(again.astype(int) - picture).max() <= 14


def test_value_exif_case(sample_cases: Path) -> None:
    photo = sample_cases / "exif/images/photo.jpg"
    upright = decode(photo, photo)
    mask = read_mask(
        {"mask": str(sample_cases / "exif/masks/photo.png"), "image": str(photo)}, encoded_size(photo, photo)
    )
    assert upright.shape == mask.shape == (90, 60) and ((upright > 150) == mask).mean() > 0.99
    assert (upright[50:80, 30:50] > 200).all()  # where the box file has its box


def test_value_a_broken_exif_block_turns_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(np.full((8, 16), 99, np.uint8)).save(path, exif=b"Exif\0\0MM\0\xff broken")
    assert decode(path, path).shape == (8, 16)


@pytest.mark.parametrize(
    ("exif", "unknown"), [(b"Exif\0\0MM\0\xff broken", True), (9, True), (6, False), (None, False)]
)
def test_value_an_unreadable_orientation_is_told(exif: bytes | int | None, unknown: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    block = Image.Exif()
    if isinstance(exif, int):
        block[0x0112] = exif
    Image.fromarray(np.full((8, 16), 99, np.uint8)).save(path, exif=exif if isinstance(exif, bytes) else block)
    frame = pd.DataFrame({"id": ["a"], "image": [str(path)], "split": ["test"], "patient": ["p"]})
    result = CheckResult("pairs", str(tmp_path))
    check_images(frame, result, None)
    told = [finding.items for finding in result.findings if finding.kind == "EXIF orientation that cannot be read"]
    assert told == ([[str(path)]] if unknown else [])


TRUTH = np.zeros((8, 8), bool)
TRUTH[2:5, 1:7] = True
LABELS = np.where(TRUTH, np.where(np.arange(8) < 4, 1, 3), 0)


def palette() -> Image.Image:
    image = Image.fromarray(LABELS.astype(np.uint8)).convert("L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([0, 0, 0, 0, 0, 2, 9, 9, 9, 0, 0, 0])
    return image


MASKS = {
    "gray": lambda: Image.fromarray(LABELS.astype(np.uint8)),
    "one bit": lambda: Image.fromarray(TRUTH),
    "16 bit": lambda: Image.fromarray(np.where(TRUTH, np.where(np.arange(8) < 4, 1, 60_000), 0).astype(np.uint16)),
    "colour": lambda: Image.fromarray(np.stack([LABELS == 3, LABELS * 0, (LABELS == 1) * 2], axis=2).astype(np.uint8)),
    "palette": palette,
    "transparent": lambda: Image.fromarray(
        np.dstack([np.full((8, 8, 3), 200), TRUTH[..., None] * 255]).astype(np.uint8)
    ),
    "alpha": lambda: Image.fromarray(np.dstack([LABELS, np.full((8, 8), 255)]).astype(np.uint8)),
    "float": lambda: Image.fromarray((LABELS / 1000).astype(np.float32)),
}


@pytest.mark.parametrize("kind", MASKS)
def test_value_a_mask_is_zero_or_not(kind: str, tmp_path: Path) -> None:
    path = tmp_path / ("m.tif" if kind == "float" else "m.png")
    MASKS[kind]().save(path)
    assert (decode_mask(path, path) == TRUTH).all()


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("alpha", [False, True])
def test_value_a_mask_of_16_bit_colours_keeps_small_values(ending: str, alpha: bool, tmp_path: Path) -> None:
    """The upper 8 bits of 1 and 255 are zero; an opacity of 1 is not zero either."""
    path = tmp_path / f"m.{ending}"
    colours = np.dstack([LABELS == 3, LABELS * 0, (LABELS == 1) * 255]).astype(np.uint16)
    if alpha:
        colours = np.dstack([np.where(TRUTH[..., None], colours, 7), TRUTH]).astype(np.uint16)
    assert cv2.imwrite(str(path), colours) and (decode_mask(path, path) == TRUTH).all()


@pytest.mark.parametrize("case", ["mask_16bit", "mask_palette", "mask_colour"])
def test_value_mask_cases(case: str, sample_cases: Path) -> None:
    for mask in (sample_cases / case / "masks").iterdir():
        with Image.open(mask) as image:
            raw = np.asarray(image)
        expected = raw.any(axis=2) if raw.ndim == 3 else raw != 0
        assert expected.any() and (decode_mask(mask, mask) == expected).all()


def test_error_special_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for ending in ("png", "dcm"):
        os.mkfifo(tmp_path / f"pipe.{ending}")
        (tmp_path / f"link_to_pipe.{ending}").symlink_to(tmp_path / "pipe")
        (tmp_path / f"link_to_device.{ending}").symlink_to("/dev/zero")
        for name in ("pipe", "link_to_pipe", "link_to_device"):
            path = tmp_path / f"{name}.{ending}"
            for read in (decode, decode_mask, encoded_size, lambda path, _: image_source(path).bytes()):
                with pytest.raises(UserError, match=rf"{name}\.\w+: found a folder, pipe or device"):
                    read(path, path)
            assert not image_source(path).exists()
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="image not found"):
        decode(tmp_path / "dangling.png", tmp_path / "dangling.png")


def test_error_a_file_that_is_too_large(tmp_path: Path) -> None:
    """Sparse files of 1 GiB and a byte are refused before they are read."""
    for ending in ("png", "dcm"):
        path = tmp_path / f"large.{ending}"
        with path.open("wb") as file:
            file.truncate((1 << 30) + 1)
        for read in (decode, lambda path, _: image_source(path).bytes()):
            with pytest.raises(UserError, match=r"large\.\w+: found 1,073,741,825 bytes, expected at most 1,0"):
                read(path, path)
