"""The affine map of training crops, by hand."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from data_modules.errors import UserError
from data_modules.images.source import image_source
from data_modules.images.transforms import Augment, Transform
from data_modules.images.warp import ATTEMPTS, DRAWS, RATIO, Warp, shortest_side

RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8) * 3


def still(linear: list[list[float]], shift: list[float], size: int) -> Warp:
    return Warp(np.array(linear, float), np.array(shift, float), size)


def test_value_identity_shift_and_enlargement() -> None:
    assert (still([[1, 0], [0, 1]], [0, 0], 8).image(RAMP) == RAMP).all()
    assert (still([[1, 0], [0, 1]], [2, 3], 4).image(RAMP) == RAMP[3:7, 2:6]).all()
    twice = still([[0.5, 0], [0, 0.5]], [0, 0], 16).image(RAMP)
    wanted = RAMP[1, 0] + 24 * 0.75 + 3 * np.array([0.25, 0.75, 1.25])  # middle of row 4: 1.75 of the ramp's rows
    assert abs(twice[4, 1:4] - wanted).max() <= 1
    assert twice[0, 0] == RAMP[0, 0]  # the border goes on and does not darken


def test_value_shrinking_by_four_averages_sixteen() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (33, 32), dtype=np.uint8)
    small = still([[4, 0], [0, 4]], [0, 0], 8).image(noise)
    wanted = noise[:32].reshape(8, 4, 8, 4).mean((1, 3))
    assert abs(small - wanted).max() <= 1
    colour = np.stack([noise, noise // 2, noise // 3], -1)
    assert abs(still([[4, 0], [0, 4]], [0, 0], 8).image(colour)[..., 1] - wanted / 2).max() <= 2


def test_value_quarter_turn_and_mirror() -> None:
    turned = still([[0, -1], [1, 0]], [8, 0], 8)  # the crop's x runs down the image
    assert (turned.image(RAMP) == np.rot90(RAMP)).all()
    assert (still([[-1, 0], [0, 1]], [8, 0], 8).image(RAMP) == RAMP[:, ::-1]).all()


def test_value_boxes_by_hand() -> None:
    boxes = np.array([[2.0, 3, 4, 7], [0, 0, 1, 1], [7, 7, 8, 8]])
    cut, kept = still([[2, 0], [0, 2]], [2, 2], 2).boxes(boxes)  # the crop is 2..6 of the image, at half its size
    assert kept.tolist() == [0] and cut.tolist() == [[0, 0.5, 1, 2]]
    cut, _ = still([[0, -1], [1, 0]], [8, 0], 8).boxes(boxes[:1])
    assert np.allclose(cut, [[3, 4, 7, 6]])  # crop x = image y, crop y = 8 - image x
    empty, none = still([[1, 0], [0, 1]], [0, 0], 8).boxes(np.zeros((0, 4)))
    assert empty.shape == (0, 4) and none.shape == (0,)


@pytest.mark.parametrize("flip", [False, True])
def test_value_image_mask_and_box_move_together(flip: bool) -> None:
    image = np.zeros((120, 90), np.uint8)
    image[50:74, 30:48] = 255
    for seed in range(20):
        draws = np.random.default_rng(seed).random(DRAWS)
        warp = Warp.random(draws, (120, 90), 64, (0.6, 1.0), flip, 15.0)
        seen, drawn = warp.image(image) > 127, warp.mask(image) > 127
        assert (seen != drawn).mean() < 0.02
        (box,), _ = warp.boxes(np.array([[30.0, 50, 48, 74]]))
        rows, columns = np.nonzero(drawn)
        assert np.allclose([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], box, atol=2.0)


def test_value_random_crops_stay_inside_and_have_the_wanted_area() -> None:
    shares = []
    for seed in range(300):
        warp = Warp.random(np.random.default_rng(seed).random(DRAWS), (100, 80), 10, (0.5, 0.9))
        low, high = warp.shift, warp.shift + warp.linear @ (10, 10)
        assert (low >= -1e-9).all() and (high <= np.array([80, 100]) + 1e-9).all()
        across, down = high - low
        assert RATIO[0] - 1e-9 <= across / down <= RATIO[1] + 1e-9
        shares.append(across * down / 8000)
    assert min(shares) >= 0.5 and max(shares) <= 0.9 and abs(np.mean(shares) - 0.7) < 0.03


def test_value_what_fits_nowhere_is_the_largest_at_the_middle() -> None:
    draws = np.full(DRAWS, 0.5)
    warp = Warp.random(draws, (40, 400), 10, (1.0, 1.0))
    assert np.allclose(warp.linear * 10, np.diag([40 * RATIO[1], 40])) and np.allclose(warp.shift[1], 0)
    assert np.isclose(warp.shift[0] + 40 * RATIO[1] / 2, 200) and len(draws) == 2 * ATTEMPTS + 4


def test_value_one_resampling_reaches_beyond_the_crop() -> None:
    """A turned crop inside the image shows the image in its corners, and beyond the image its border."""
    white = np.full((100, 100), 200, np.uint8)
    draws = np.full(DRAWS, 0.5)
    draws[-2] = 1.0
    assert (Warp.random(draws, (100, 100), 64, (0.6, 0.6), rotate=20).image(white) == 200).all()
    assert (Warp.random(draws, (100, 100), 64, (1.0, 1.0), rotate=20).image(white) == 200).all()
    assert (Warp.random(draws, (100, 100), 64, (1.0, 1.0), rotate=20).mask(white // 200) == 0).any()


@pytest.mark.parametrize("scale", [0.2, 0.6, 1.0])
def test_value_no_crop_of_a_reduced_jpeg_is_enlarged(tmp_path: Path, scale: float) -> None:
    """An image is decoded at half or a quarter only where the smallest crop still has the pixels."""
    grain = np.random.default_rng(0).integers(90, 110, (120, 100), dtype=np.uint8)
    Image.fromarray(grain).resize((1000, 1200), Image.Resampling.BICUBIC).save(tmp_path / "a.jpg", quality=95)
    transform = Transform(64, Augment((scale, 1.0), rotate=0, brightness=0, contrast=0), train=True)
    assert transform.enough and transform.enough == np.ceil(shortest_side(64, scale))
    source = image_source(tmp_path / "a.jpg")
    whole, reduced = source.read(), source.read(enough=transform.enough)
    assert whole.shape == (1200, 1000) and transform.enough <= min(reduced.shape) < min(whole.shape)
    for seed in range(20):
        crops = [transform(image, seed)["image"].astype(float) for image in (whole, reduced)]
        assert abs(crops[0] - crops[1]).mean() < 1.5
        draws, shape = np.random.default_rng(seed).random(DRAWS), (reduced.shape[0], reduced.shape[1])
        warp = Warp.random(draws, shape, 64, (scale, scale))
        assert np.abs(warp.linear).max(0).min() >= 1 - 1e-9
    assert Transform(64).enough is None and Transform(64, Augment(short_side=200), train=True).enough is None


def test_value_brightness_and_contrast() -> None:
    flat = np.full((32, 32), 100, np.uint8)
    lit = [int(Transform(8, Augment((1, 1), False, 0, 0.2, 0), True)(flat, s)["image"][0, 0, 0]) for s in range(200)]
    assert min(lit) >= 49 and max(lit) <= 151 and max(lit) - min(lit) > 90
    stretched = [int(Transform(8, Augment((1, 1), False, 0, 0, 0.2), True)(flat, s)["image"].max()) for s in range(200)]
    assert min(stretched) >= 80 and max(stretched) <= 120 and max(stretched) - min(stretched) > 35


@pytest.mark.parametrize("fit", ["crop", "letterbox", "stretch"])
def test_value_without_a_random_crop_training_shows_what_evaluation_shows(fit: str) -> None:
    image = (np.add.outer(np.arange(120), np.arange(60)) + 40).astype(np.uint8)
    augment = Augment(crop_scale=None, rotate=0, brightness=0, contrast=0, fit=fit)  # type: ignore[arg-type]
    mask = (image > 120).astype(np.uint8)
    shown = [Transform(40, augment, train)(image, 3, mask) for train in (True, False)]
    close = abs(shown[0]["image"][0].astype(int) - shown[1]["image"][0]) <= 2
    edge = np.array([[0, 9, 10, 29, 30, 39]] if fit == "letterbox" else [[0, 39]])  # where bars and image are blended
    inner = np.setdiff1d(np.arange(40), edge)
    assert close[1:-1][:, inner].all()
    assert (shown[0]["mask"] == shown[1]["mask"]).mean() > 0.97


def test_value_zoom_by_hand() -> None:
    warp = Warp.random(np.full(DRAWS, 0.5), (40, 40), 20, "stretch", zoom=2.0)
    assert np.allclose(warp.linear, np.eye(2)) and np.allclose(warp.shift, [10, 10])  # the middle half, twice as large
    out = Warp.random(np.full(DRAWS, 0.5), (40, 40), 20, "stretch", zoom=0.5, outside=cv2.BORDER_CONSTANT)
    shown = out.image(np.full((40, 40), 200, np.uint8))
    assert (shown[:4] == 0).all() and (shown[6:14, 6:14] == 200).all()
    cut, _ = warp.boxes(np.array([[20.0, 20, 24, 26]]))
    assert np.allclose(cut, [[10, 10, 14, 16]])


def test_value_chance_decides_about_rotation_and_zoom_together() -> None:
    """albumentations' ShiftScaleRotate with p 0.5, as MGCA's segmentation_dataset.py."""
    image = np.zeros((64, 64), np.uint8)
    image[20:44, 30:34] = 255
    augment = Augment(crop_scale=None, fit="stretch", rotate=10, zoom=0.1, chance=0.5, outside="black", brightness=0,
                      contrast=0)  # fmt: skip
    transform = Transform(64, augment, train=True)
    still_images = [(transform(image, seed)["image"][0] == image).all() for seed in range(200)]
    assert 0.4 < np.mean(still_images) < 0.6
    always = Transform(64, replace(augment, chance=1.0), train=True)
    assert not any((always(image, seed)["image"][0] == image).all() for seed in range(9))


@pytest.mark.parametrize("augment", [Augment(zoom=1.0), Augment(chance=2.0)])
def test_error_zoom_and_chance(augment: Augment) -> None:
    with pytest.raises(UserError, match=r"data.augment.(zoom|chance)"):
        Transform(8, augment)
