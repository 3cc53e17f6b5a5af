"""Masks and boxes stay on the picture, whether it is read whole, shrunk, or from a prepared store."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from data_modules.annotated import AnnotatedDataModule
from data_modules.checks import check
from data_modules.errors import UserError
from data_modules.images.annotations import fit_mask
from data_modules.images.transforms import Augment
from data_modules.prepare import Options, prepare

BOX = (40, 24, 104, 72)
"""x1, y1, x2, y2 of the bright rectangle in a film of 192 x 144 pixels."""


def write(root: Path, count: int = 12) -> None:
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    images, annotations = [], []
    for n in range(count):
        pixels = np.full((144, 192), n, np.uint8)
        pixels[BOX[1] : BOX[3], BOX[0] : BOX[2]] = 200
        Image.fromarray(pixels).save(root / "images" / f"{n}.png")
        Image.fromarray((pixels == 200).astype(np.uint8) * 255).save(root / "masks" / f"{n}.png")
        images.append({"id": n, "file_name": f"{n}.png", "width": 192, "height": 144})
        own = [BOX[0], BOX[1], BOX[2] - BOX[0], BOX[3] - BOX[1]]
        annotations.append({"id": n, "image_id": n, "category_id": 1, "bbox": own, "area": own[2] * own[3]})
    content = {"images": images, "categories": [{"id": 1, "name": "square"}], "annotations": annotations}
    (root / "boxes.json").write_text(json.dumps(content))


def make(root: Path, short_side: int | None = None) -> AnnotatedDataModule:
    augment = Augment(fit="letterbox", short_side=short_side)
    data = AnnotatedDataModule(
        str(root), masks="masks", boxes="boxes.json", image_size=96, num_workers=0, augment=augment
    )
    data.setup()
    return data


@pytest.mark.parametrize("form", ["whole", "shrunk", "store"])
def test_value_mask_and_box_lie_on_the_picture(form: str, tmp_path: Path) -> None:
    write(tmp_path / "raw")
    root = tmp_path / "raw"
    if form == "store":
        prepare(make(root), tmp_path / "store", Options(72, "raw"), workers=1)
        shutil.rmtree(root)
        root = tmp_path / "store"
    data = make(root, 72 if form == "shrunk" else None)
    sample = data.samples("train")[0]
    bright = sample["image"][0] == 200
    assert bright.sum() == 32 * 24 and torch.equal(sample["mask"][0] == 1, bright)
    assert sample["boxes"].tolist() == [[20, 24, 52, 48]] and sample["box_labels"].tolist() == [0]
    assert sample["size"].tolist() == [144, 192] and data.box_classes == ["square"]


def test_value_masks_are_shrunk_by_pixel_centres() -> None:
    mask = np.zeros((9, 9), np.uint8)
    mask[3:6, 3:6] = 1
    assert fit_mask(mask, (3, 3)).tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_error_prepare_names_a_mask_of_another_size(tmp_path: Path) -> None:
    write(tmp_path / "raw")
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(tmp_path / "raw" / "masks" / "3.png")
    with pytest.raises(UserError, match=r"3\.png: found a mask of 10 x 10 pixels, expected 192 x 144"):
        prepare(make(tmp_path / "raw"), tmp_path / "store", Options(48, "raw"), workers=1)


@pytest.mark.parametrize("given", [True, False])
def test_value_a_store_of_another_seed_draws_again_or_says_so(given: bool, tmp_path: Path) -> None:
    write(tmp_path / "raw")
    splits = ["train"] * 8 + ["val"] * 2 + ["test"] * 2 if given else [""] * 12
    rows = [f"images/{n}.png,{split}" for n, split in enumerate(splits)]
    (tmp_path / "raw" / "table.csv").write_text("\n".join(["image,split", *rows]))
    for seed, root in ((0, "raw"), (0, "store"), (4, "store")):
        data = AnnotatedDataModule(
            str(tmp_path / root), masks="masks", boxes="boxes.json", table="table.csv", num_workers=0, seed=seed
        )
        if root == "raw":
            prepare(data, tmp_path / "store", workers=1)
        data.setup()
        assert data.spec.notes == (
            ["store: whatever was drawn when it was prepared was drawn with seed 0"] if given and seed else []
        )


def test_value_check_names_what_does_not_fit(tmp_path: Path) -> None:
    write(tmp_path)
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(tmp_path / "masks" / "3.png")
    for deep, name in ((0, "6.png"), (1, "7.png")):
        pixels = np.zeros((144, 192, 3), np.uint16)
        pixels[:4] = deep
        assert cv2.imwrite(str(tmp_path / "masks" / name), pixels)
    content = json.loads((tmp_path / "boxes.json").read_text())
    content["annotations"][5]["bbox"][0] = 180
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    data = AnnotatedDataModule(str(tmp_path), masks="masks", boxes="boxes.json")
    result = check("annotated", tmp_path, data)
    (finding,) = [f for f in result.findings if f.kind.startswith("mask or box")]
    (empty,) = [f for f in result.findings if f.kind == "empty mask"]
    assert empty.items == ["6.png"] and "1 x empty mask: nothing is annotated there" in empty.message
    assert result.failed and result.counts["boxes"] == 12 and len(finding.items) == 2
    assert "3.png: found a mask of 10 x 10" in finding.items[0] and "5.png: found box" in finding.items[1]
