"""``data.augment.extra``: albumentations' pixel transforms, in training, on the image alone, seeded per sample."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from data_modules.errors import UserError
from data_modules.images.pixel_transforms import PixelTransform, PixelTransforms
from data_modules.images.transforms import Augment, Transform
from data_modules.pairs import PairsDataModule

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
NOISE = PixelTransform("GaussNoise", {"p": 1.0})
INVERTED = PixelTransform("InvertImg", {"p": 1.0})


def test_value_the_image_alone_after_the_warp_and_in_training_only() -> None:
    mask, boxes = (IMAGE > 127).astype(np.uint8), np.array([[4.0, 4, 30, 30]])
    plain, extra = Augment(), Augment(extra=[INVERTED])
    before = Transform(32, plain, train=True)(IMAGE, 7, mask, boxes)
    after = Transform(32, extra, train=True)(IMAGE, 7, mask, boxes)
    assert (after["image"] == 255 - before["image"]).all()
    assert all((after[key] == before[key]).all() for key in ("mask", "boxes", "kept"))
    assert (Transform(32, extra)(IMAGE)["image"] == Transform(32, plain)(IMAGE)["image"]).all()


def test_value_the_order_is_that_of_the_list() -> None:
    black = PixelTransform("ToGray", {"p": 1.0})
    posterised = PixelTransform("Posterize", {"num_bits": 1, "p": 1.0})
    coloured = np.dstack([IMAGE, IMAGE.T, IMAGE[::-1]])
    there = PixelTransforms([posterised, black])(coloured, 0)
    back = PixelTransforms([black, posterised])(coloured, 0)
    assert set(np.unique(back)) <= {0, 128} and not (there == back).all()


def test_value_the_seed_alone_decides() -> None:
    maybe = PixelTransforms([NOISE, PixelTransform("RandomGamma", {"p": 0.5})])
    forth = [maybe(IMAGE, seed) for seed in range(8)]
    back = [
        PixelTransforms([NOISE, PixelTransform("RandomGamma", {"p": 0.5})])(IMAGE, seed) for seed in range(7, -1, -1)
    ]
    assert all((one == other).all() for one, other in zip(forth, back[::-1], strict=True))
    assert len({one.tobytes() for one in forth}) == 8
    assert (maybe(IMAGE, -(2**63)) == maybe(IMAGE, -(2**63))).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_value_through_the_loader(tmp_path: Path, workers: int) -> None:
    lines = ["image,text,split"]
    for n in range(8):
        Image.fromarray(np.roll(IMAGE, n)).save(tmp_path / f"{n}.png")
        lines.append(f"{n}.png,the heart of case {n} is normal,train")
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")

    def images(num_workers: int, extra: list[PixelTransform]) -> dict[str, torch.Tensor]:
        options: dict[str, Any] = {"image_size": 32, "batch_size": 4, "augment": Augment(extra=extra)}
        data = PairsDataModule(str(tmp_path), num_workers=num_workers, **options)
        data.setup()
        batches = list(data.train_dataloader())
        return {name: image for batch in batches for name, image in zip(batch["id"], batch["image"], strict=True)}

    here, there, plain = images(0, [NOISE]), images(workers, [NOISE]), images(workers, [])
    assert len(here) == 8 and here.keys() == there.keys()
    assert all(torch.equal(here[name], there[name]) for name in here)
    assert not any(torch.equal(here[name], plain[name]) for name in here)


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("GausNoise", {}, "found 'GausNoise', expected a pixel transform.*; did you mean 'GaussNoise'"),
        ("ImageOnlyTransform", {}, "expected a pixel transform of albumentations"),
        ("HorizontalFlip", {}, "HorizontalFlip is a spatial transform.*masks and boxes would not move along"),
        ("GaussNoise", {"std_rang": [0.1, 0.2]}, "GaussNoise has no argument 'std_rang'; did you mean 'std_range'"),
        ("GaussNoise", {"std_range": [2, 3]}, r"GaussNoise does not take \{'std_range': \[2, 3\]\} \(.*<= 1"),
    ],
)
def test_error_when_made(name: str, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=rf"data\.augment\.extra: .*{told}"):
        Transform(32, Augment(extra=[PixelTransform(name, arguments)]), train=True)


def test_error_on_an_image() -> None:
    with pytest.raises(UserError, match=r"Normalize turned uint8 \(40, 40\) into float32"):
        PixelTransforms([PixelTransform("Normalize", {"p": 1.0})])(IMAGE, 0)
    with pytest.raises(UserError, match=r"ChannelDropout does not take a gray image"):
        PixelTransforms([PixelTransform("ChannelDropout", {"p": 1.0})])(IMAGE, 0)
