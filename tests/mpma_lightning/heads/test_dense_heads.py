"""Decoders and detector: shapes, losses by hand, gradients of every parameter, and where crops lie on their image."""

import math
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from memory_data import MemoryData
from model_fixtures import SMALL, small_backbone
from PIL import Image
from torch import Tensor, nn
from torchvision.ops import box_iou

from data_modules.contract import DataSpec
from data_modules.errors import UserError
from data_modules.images.transforms import Augment, Placement, Transform
from mpma_lightning.backbones import ImageSpec
from mpma_lightning.backbones.encoder import Levels
from mpma_lightning.backbones.image import timm_encoder
from mpma_lightning.heads import segmentation_head
from mpma_lightning.heads.detection_head import DetectionHead, in_training_mode
from mpma_lightning.heads.levels import Pyramid, four_levels, last_levels, spread
from mpma_lightning.heads.segmentation_head import segmentation_loss
from mpma_lightning.optim import Optim, layer_scales
from mpma_lightning.predictions.boxes import BoxWriter
from mpma_lightning.predictions.masks import MaskWriter, png_path
from mpma_lightning.protocols import PROTOCOLS, DetectionProtocol, Protocol, SegmentationProtocol, protocol_named
from mpma_lightning.tasks.segmentation import SegmentationTask

SEGMENTATION = {name: its for name, its in PROTOCOLS.items() if isinstance(its, SegmentationProtocol)}

SIDE = 64


def encoder(kind: str) -> Any:
    """A ViT of two blocks and patches of 8, or a CNN of five or four levels."""
    torch.manual_seed(0)
    if kind == "vit":
        return small_backbone("image").image.float()
    cnn = timm_encoder({"resnet": "resnet18", "convnext": "convnext_atto"}[kind], ImageSpec(size=SIDE))
    for module in cnn.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)  # timm starts the last one of a block at 0, which no gradient passes
    return cnn


def images(count: int = 2) -> Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def untouched(parameters: Iterable[tuple[str, nn.Parameter]]) -> list[str]:
    """Parameters without a gradient."""
    return [name for name, p in parameters if p.grad is None or not p.grad.abs().sum() > 0]


@pytest.mark.parametrize("protocol", SEGMENTATION)
@pytest.mark.parametrize("kind", ["vit", "resnet", "convnext"])
def test_segmentation_shape_and_gradient(kind: str, protocol: str) -> None:
    """Logits as large as the crop; every parameter of encoder and decoder learns."""
    image_encoder = encoder(kind)
    head = segmentation_head.segmentation_head(image_encoder, SEGMENTATION[protocol], width=16)
    logits = head(image_encoder(images(), levels=head.levels.indices).levels, SIDE)
    assert logits.shape == (2, 1, SIDE, SIDE)
    mask = torch.zeros(2, 1, SIDE, SIDE)
    mask[0, 0, 10:40, 10:40] = 1
    segmentation_loss(logits, mask, SEGMENTATION[protocol]).backward()
    assert untouched(head.named_parameters()) == [] and untouched(image_encoder.named_parameters()) == []


def test_value_levels() -> None:
    deep = SimpleNamespace(levels=Levels(tuple(range(12)), (768,) * 12, (16,) * 12))
    assert four_levels(deep) == Levels((3, 5, 7, 11), (768,) * 4, (16,) * 4)  # blocks 4, 6, 8 and 12
    assert four_levels(encoder("vit")).indices == (0, 0, 1, 1) and last_levels(encoder("vit"), 5).indices == (1,)
    resnet = encoder("resnet")
    assert last_levels(resnet, 4) == Levels((1, 2, 3, 4), (64, 128, 256, 512), (4, 8, 16, 32)) == four_levels(resnet)
    assert last_levels(resnet, 1) == Levels((4,), (512,), (32,))


def test_shape_pyramid() -> None:
    maps = [torch.randn(1, 6, 4, 4)] * 4
    pyramid = Pyramid(Levels((0,) * 4, (6,) * 4, (16,) * 4), (4, 8, 16, 32), 5)
    assert [tuple(level.shape[1:]) for level in pyramid(maps)] == [(5, 16, 16), (5, 8, 8), (5, 4, 4), (5, 2, 2)]


@pytest.mark.parametrize("cells", [7, 8, 9])
def test_value_coarse_cells_stay_where_they_are(cells: int) -> None:
    """A ramp pooled and drawn up again is the ramp, but for half a coarse cell at its ends."""
    ramp = torch.arange(cells * 4.0).expand(1, 1, 1, -1)
    finest = (1, cells * 4)
    for factor in (2, 4, 8):
        pooled = torch.nn.functional.avg_pool2d(ramp, (1, factor), ceil_mode=True)
        drawn = spread(pooled, factor, finest)[0, 0, 0]
        inner = slice(factor // 2, cells * 4 // factor * factor - factor // 2 - 1)
        assert drawn.shape == (cells * 4,) and (drawn - ramp[0, 0, 0])[inner].abs().max() < 1e-4
    assert spread(ramp, 1, (1, 3)).tolist() == [[[[0, 1, 2]]]] and spread(ramp, 1, (1, 50)).shape[-1] == 50
    assert Pyramid(Levels((0,), (1,), (16,)), (32,), 1)([torch.zeros(1, 1, 7, 7)])[0].shape[-2:] == (4, 4)


@pytest.mark.parametrize(("name", "focal_weight"), [("seg-frozen-mgca", 10), ("seg-finetune", 2)])
def test_value_segmentation_loss(name: str, focal_weight: float) -> None:
    """At logits of 0: focal is (1/2)² ln 2; Dice is (2 · ½ · 3 + 1) / (½ · 8 + 3 + 1)."""
    mask = torch.zeros(2, 1, 2, 2)
    mask[0, 0, 0, 0] = mask[1, 0, 0] = 1
    dice = 4 / 8
    expected = focal_weight * 0.25 * math.log(2) + (-math.log(dice) if name == "seg-frozen-mgca" else 1 - dice)
    assert float(segmentation_loss(torch.zeros(2, 1, 2, 2), mask, SEGMENTATION[name])) == pytest.approx(expected)
    sure = torch.where(mask > 0, 40.0, -40.0)
    assert float(segmentation_loss(sure, mask, SEGMENTATION[name])) == pytest.approx(0, abs=1e-6)
    assert math.isfinite(float(segmentation_loss(torch.full_like(mask, -40.0), mask * 0, SEGMENTATION[name])))


def test_value_layer_scales() -> None:
    scales = layer_scales(encoder("vit"), 0.5, "backbone.image")
    assert scales == {
        "backbone.image.vit.": 0.125,
        "backbone.image.vit.norm": 1.0,
        "backbone.image.vit.blocks.0.": 0.25,
        "backbone.image.vit.blocks.1.": 0.5,
    }
    assert layer_scales(encoder("resnet"), 0.5, "backbone.image") == {}


def target(boxes: list[list[float]], labels: list[int]) -> dict[str, Tensor]:
    return {"boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), "labels": torch.tensor(labels).long()}


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_detection_shape_and_gradient(kind: str) -> None:
    """With and without boxes in an image; every parameter learns."""
    image_encoder = encoder(kind)
    head = DetectionHead(image_encoder, 2, SIDE, width=16)
    drawn = [target([[8, 8, 30, 40], [30, 30, 60, 60]], [1, 0]), target([], [])]
    maps = image_encoder(images(), levels=head.levels.indices).levels
    levels = head.pyramid(maps)
    assert [tuple(v.shape[-2:]) for v in levels.values()] == [(16, 16), (8, 8), (4, 4), (2, 2), (1, 1)]
    nothing, losses = head(maps, images(), drawn)
    assert nothing == [] and sorted(losses) == [
        "loss_box_reg", "loss_classifier", "loss_objectness", "loss_rpn_box_reg",
    ]  # fmt: skip
    torch.stack(list(losses.values())).sum().backward()
    assert untouched(head.named_parameters()) == [] and untouched(image_encoder.named_parameters()) == []
    head.eval()
    found, none = head(maps, images())
    assert none == {} and len(found) == 2
    for one in found:
        assert set(one["labels"].tolist()) <= {0, 1} and (one["boxes"] >= 0).all() and (one["boxes"] <= SIDE).all()
    losses = in_training_mode(head, maps, images(), [target([], [])] * 2)
    assert not head.training and all(math.isfinite(float(value)) for value in losses.values())
    assert losses["loss_box_reg"] == 0


@pytest.mark.full
def test_value_detector_learns_its_box() -> None:
    """The detector overfits two bright squares: boxes in pixels of the crop, labels from 0."""
    torch.manual_seed(0)
    image_encoder = encoder("vit")
    head = DetectionHead(image_encoder, 2, SIDE, width=16)
    drawn = [target([[8, 8, 32, 32]], [1]), target([[32, 24, 56, 48]], [0])]
    picture = torch.zeros(2, 3, SIDE, SIDE)
    picture[0, :, 8:32, 8:32], picture[1, :, 24:48, 32:56] = 2, -2
    optimizer = torch.optim.Adam([*image_encoder.parameters(), *head.parameters()], 3e-3)
    for _ in range(120):
        _, losses = head(image_encoder(picture, levels=head.levels.indices).levels, picture, drawn)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    head.eval()
    with torch.no_grad():
        found, _ = head(image_encoder(picture, levels=head.levels.indices).levels, picture)
    for one, true in zip(found, drawn, strict=True):
        assert one["labels"][0] == true["labels"][0] and one["scores"][0] > 0.5
        assert box_iou(one["boxes"][:1], true["boxes"]) > 0.5


@pytest.mark.parametrize("kind", [SegmentationProtocol, DetectionProtocol])
def test_error_protocol(kind: type[Protocol]) -> None:
    with pytest.raises(UserError, match=r"model.protocol 'seg-frozen' is unknown"):
        protocol_named("seg-frozen", kind)


@pytest.mark.parametrize("fit", ["crop", "letterbox", "stretch"])
@pytest.mark.parametrize("shape", [(96, 60), (50, 81), (64, 64)])
def test_value_crops_find_their_place(fit: str, shape: tuple[int, int]) -> None:
    """Boxes come back as they were, masks within a pixel at their edges; nothing where the crop did not reach."""
    image = np.zeros(shape, np.uint8)
    image[20:40, 15:45] = 1
    box = np.array([[15.0, 20.0, 45.0, 40.0]])
    crop = Transform(128, Augment(fit=fit))(image, mask=image, boxes=box)  # type: ignore[arg-type]
    place = Placement.of(*shape, 128, fit)
    back = place.mask_back(crop["mask"][0])
    assert back.shape == shape and (back != image).sum() <= 2 * (20 + 30)
    if fit != "crop":
        assert place.boxes_back(crop["boxes"]) == pytest.approx(box, abs=0.6)
    whole = place.mask_back(np.ones((128, 128), np.uint8))
    cut = abs(shape[0] - shape[1]) if fit == "crop" else 0
    assert abs(int((whole == 0).sum()) - cut * min(shape)) <= 2 * min(shape)


def test_value_detections_on_bars_are_not_written() -> None:
    """Of a film of 40 x 80 between bars of 2 rows in a crop of 8: one inside, one half on a bar, one wholly."""
    boxes = torch.tensor([[1.0, 3.0, 3.0, 5.0], [1.0, 0.0, 3.0, 4.0], [1.0, 0.0, 3.0, 2.0]])
    found = {"boxes": boxes, "scores": torch.tensor([0.9, 0.8, 0.7]), "labels": torch.zeros(3, dtype=torch.long)}
    rows = BoxWriter(["Edema"], 8, "letterbox").annotations(found, [40, 80])
    assert [row["bbox"] for row in rows] == [[10, 10, 20, 20], [10, 0, 20, 20]]


def test_value_masks_stay_in_their_folder() -> None:
    """Ids may be paths of the data, which a mask must not overwrite."""
    assert png_path("images/a.jpg").as_posix() == "images/a.png" and png_path("1.2.3").as_posix() == "1.2.3.png"
    assert png_path("/data/../images/a.png").as_posix() == "data/images/a.png"
    long = png_path(f"x/Edema/{'ä' * 150}")
    assert long != png_path(f"x/Edema/{'ä' * 151}") and len(long.name.encode()) < 255 and long.parent.name == "Edema"


def test_value_files_that_differ_in_their_ending_have_a_mask_each(tmp_path: Path) -> None:
    for ids, expected in (
        (["a/scan.png", "b/scan.png", "a/scan.png.jpg"], ["a/scan.png", "b/scan.png", "a/scan.png.png"]),
        (["scan.png", "scan.jpg", "b.png"], ["scan.png.png", "scan.jpg.png", "b.png.png"]),
        (["scan.bmp", "scan.bmp.png"], ["scan.bmp.png", "scan.bmp.png.png"]),
        (["scan.png", "scan.jpg", "scan.jpg.tif"], ["scan.png.png", "scan.jpg.png", "scan.jpg.tif.png"]),
    ):
        writer = MaskWriter("crop", file=str(len(expected[0])))
        writer.begin(tmp_path, ids)
        for value, name in enumerate(ids):
            mask = torch.full((1, 1, 4, 4), value, dtype=torch.uint8)
            writer.add({"id": [name], "mask": mask, "size": torch.tensor([[4, 4]])})
        found = []
        for name in expected:
            with Image.open(writer.path / name) as image:
                found.append(int(np.asarray(image).max()))
        assert found == list(range(len(ids)))


def test_error_two_masks_of_one_name(tmp_path: Path) -> None:
    """Nothing is written where two ids would overwrite each other in spite of their endings."""
    with pytest.raises(UserError, match=r"a/scan.png and /a/scan.png would both be written to .*/masks/a/scan.png"):
        MaskWriter("crop").begin(tmp_path, ["a/scan.png", "b/scan.png", "/a/scan.png"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("scale", [{}, {"backbone.image": 0.5}, {"backbone": 0.5}])
def test_value_a_scale_of_the_encoder_multiplies_layer_decay(scale: dict[str, float]) -> None:
    task = SegmentationTask(backbone=SMALL, head_width=8, optim=Optim(scale=scale))
    data = MemoryData(DataSpec("Memory", mask_class="Pneumothorax", image_size=32))
    task.trainer = SimpleNamespace(datamodule=data, state=SimpleNamespace(fn="fit"))  # type: ignore[assignment]
    task.configure_model()
    own = 0.5 if scale else 1.0
    assert task.optim.scale["backbone.image.vit.blocks.1."] == pytest.approx(own * 0.65)
    assert task.optim.scale["backbone.image.vit."] == pytest.approx(own * 0.65**3)
