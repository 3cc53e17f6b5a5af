"""Crops: shape, statelessness, and masks and boxes that follow the image."""

from dataclasses import replace

import numpy as np
import pytest

from data_modules.errors import UserError
from data_modules.images.transforms import Augment, Transform

STILL = Augment(crop_scale=(0.3, 0.6), rotate=0, brightness=0, contrast=0)


def noise(height: int = 90, width: int = 70, channels: int = 0) -> np.ndarray:
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("fit", ["crop", "letterbox", "stretch"])
@pytest.mark.parametrize("channels", [0, 3])
@pytest.mark.parametrize("size", [32, 128])
def test_shape(train: bool, fit: str, channels: int, size: int) -> None:
    image = Transform(size, Augment(fit=fit), train)(noise(channels=channels), seed=-7)["image"]  # type: ignore[arg-type]
    assert image.shape == (channels or 1, size, size) and image.dtype == np.uint8
    assert image.flags["C_CONTIGUOUS"] and image.flags["WRITEABLE"]


def test_value_the_seed_alone_decides() -> None:
    first, second = Transform(32, Augment(flip=True), train=True), Transform(32, Augment(flip=True), train=True)
    wanted = [first(noise(), seed)["image"] for seed in (1, 2, 3)]
    for seed in (9, 3, 8, 1, 2):
        crop = second(noise(), seed)["image"]
        if seed <= 3:
            assert (crop == wanted[seed - 1]).all()
    assert (wanted[0] != wanted[1]).any()
    assert (Transform(32)(noise(), 1)["image"] == Transform(32)(noise(), 2)["image"]).all()


def test_value_steps_draw_independently() -> None:
    """One seed for all steps would tie the brightness to the crop."""
    augment = Augment(crop_scale=(0.2, 1.0), rotate=0, brightness=0.5, contrast=0)
    ramp = np.tile(np.linspace(60, 120, 64).astype(np.uint8), (64, 1))
    bright, plain = (
        Transform(16, augment, True),
        Transform(16, Augment((0.2, 1.0), rotate=0, brightness=0, contrast=0), True),
    )
    spans, shifts = [], []
    for seed in range(200):
        crop, lit = plain(ramp, seed)["image"].astype(float), bright(ramp, seed)["image"].astype(float)
        spans.append(crop.max() - crop.min())
        shifts.append((lit - crop).mean())
    assert abs(np.corrcoef(spans, shifts)[0, 1]) < 0.25


def test_value_shrinking_averages() -> None:
    checks = np.indices((128, 128)).sum(0) % 2 * np.uint8(200)
    crop = Transform(32)(checks.astype(np.uint8))["image"]
    assert abs(crop.astype(int) - 100).max() <= 1


def test_value_no_flip_by_default() -> None:
    half = np.zeros((64, 64), np.uint8)
    half[:, :32] = 200
    mirrored = Augment((1.0, 1.0), flip=True, rotate=0, brightness=0, contrast=0)
    plain = Augment((1.0, 1.0), rotate=0, brightness=0, contrast=0)
    assert all(Transform(32, plain, True)(half, s)["image"][0, :, :4].mean() > 100 for s in range(20))
    sides = {Transform(32, mirrored, True)(half, s)["image"][0, :, :4].mean() > 100 for s in range(20)}
    assert sides == {True, False}


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("fit", ["crop", "letterbox", "stretch"])
def test_value_mask_and_boxes_follow_the_image(train: bool, fit: str) -> None:
    image = np.zeros((120, 80), np.uint8)
    image[50:70, 30:50] = 255
    transform = Transform(64, Augment((0.5, 1.0), False, 0, 0, 0, fit), train)  # type: ignore[arg-type]
    boxes = np.array([[30, 50, 50, 70], [0, 0, 1, 1]], float)
    for seed in range(5):
        out = transform(image, seed, mask=image // 255, boxes=boxes)
        if 0 not in out["kept"]:
            continue
        x1, y1, x2, y2 = out["boxes"][list(out["kept"]).index(0)]
        rows, columns = np.nonzero(out["mask"][0])
        assert np.allclose([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], [x1, y1, x2, y2], atol=1.5)
        assert (((out["image"][0] > 127) != out["mask"][0]).mean()) < 0.03


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("fit", ["crop", "letterbox", "stretch"])
def test_value_mask_has_its_middle_where_the_image_has(train: bool, fit: str) -> None:
    """A bright disc and its mask shrink to the same place, to a tenth of a pixel."""
    rows, columns = np.indices((1000, 1100))
    disc = ((rows - 430) ** 2 + (columns - 520) ** 2 < 150**2).astype(np.uint8)
    done = Transform(112, replace(STILL, fit=fit, crop_scale=(1.0, 1.0)), train)(disc * 200, 0, mask=disc)  # type: ignore[arg-type]
    middles = []
    for weights in (done["image"][0].astype(float), done["mask"].reshape(112, 112).astype(float)):
        middles.append([(np.indices((112, 112))[axis] * weights).sum() / weights.sum() for axis in (0, 1)])
    assert np.abs(np.subtract(*middles)).max() < 0.1


def test_value_letterbox_keeps_all_and_pads_black() -> None:
    crop = Transform(64, Augment(fit="letterbox"))(np.full((40, 80), 90, np.uint8))["image"][0]
    assert (crop[20:44] == 90).all() and (crop[:15] == 0).all() and (crop[49:] == 0).all()


def test_value_no_boxes_are_an_empty_array() -> None:
    out = Transform(32, STILL, True)(noise(), 0, boxes=np.zeros((0, 4)))
    assert out["boxes"].shape == (0, 4) and out["kept"].shape == (0,)


@pytest.mark.parametrize("scale", [(0.9, 0.2), (0.5, 1.5), (0.0, 1.0)])
def test_error_crop_scale(scale: tuple[float, float]) -> None:
    with pytest.raises(UserError, match=r"data\.augment\.crop_scale is \("):
        Transform(8, Augment(crop_scale=scale))
