"""Parts of one's own, with a complete image encoder: registered, and taken from a checkpoint by another task."""

import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import every_task
import pytest
import torch
from torch import Tensor, nn

from data_modules.errors import UserError
from mpma_lightning.backbones import (
    REGISTRY,
    AlignSpec,
    Backbone,
    BackboneSpec,
    Features,
    FusionSpec,
    ImageSpec,
    TextSpec,
    Vocabulary,
    list_parts,
    resolve,
)
from mpma_lightning.backbones.checkpoint import CARGO, read_checkpoint
from mpma_lightning.backbones.encoder import Levels
from mpma_lightning.backbones.fusion import PooledFusion
from mpma_lightning.backbones.text import TextEncoder, random_bert
from mpma_lightning.heads.detection_head import DetectionHead
from mpma_lightning.heads.levels import four_levels, last_levels
from mpma_lightning.tasks.classification import ClassificationTask
from mpma_lightning.tasks.vqa import VQATask


class SmallNet(nn.Module):
    """Three strided convolutions; the cells of the last map are the tokens."""

    can_drop_patches, has_maps, patch_size = False, True, 8
    honours: ClassVar[tuple[str, ...]] = ()
    depths: ClassVar[dict[str, int]] = {}
    levels = local_levels = Levels(indices=(0, 1, 2), widths=(8, 16, 32), strides=(2, 4, 8))

    def __init__(self) -> None:
        super().__init__()
        self.width = self.levels.widths[-1]
        widths = zip((3, *self.levels.widths), self.levels.widths, strict=False)
        self.stages = nn.ModuleList(nn.Conv2d(before, after, 3, 2, 1) for before, after in widths)

    def forward(
        self,
        image: Tensor,
        visible: Tensor | None = None,
        levels: tuple[int, ...] = (),
        local: int | None = None,
    ) -> Features:
        if visible is not None:
            raise ValueError("smallnet cannot drop patches: call without visible")
        maps = [image]
        for stage in self.stages:
            maps.append(stage(maps[-1]).relu())
        tokens = maps[-1].flatten(2).transpose(1, 2)
        wanted, grid = [maps[1 + level] for level in levels], (maps[-1].shape[-2], maps[-1].shape[-1])
        found = Features(pooled=tokens.mean(1), tokens=tokens, prefix=tokens[:, :0], grid=grid, levels=wanted)
        return found if local is None else found.with_local(maps[1 + local])


@REGISTRY.register("image", "smallnet")
def smallnet(spec: ImageSpec) -> SmallNet:
    """Three strided convolutions, for a test."""
    return SmallNet()


@REGISTRY.register("text", "smallbert")
def smallbert(spec: TextSpec, vocabulary: Vocabulary, config: dict[str, Any] | None = None) -> TextEncoder:
    """A BERT, for a test."""
    return random_bert(spec, vocabulary)


@REGISTRY.register("fusion", "smallfusion")
class SmallFusion(PooledFusion):
    """Pooled fusion, for a test."""


SPEC = BackboneSpec(
    "mpma_vit_t16",
    ImageSpec("smallnet", size=32),
    TextSpec("smallbert", depth=1, dropout=0.0),
    FusionSpec("smallfusion"),
)


def test_shape_of_its_local_level() -> None:
    spec = BackboneSpec(SPEC.name, SPEC.image, SPEC.text, SPEC.fusion, AlignSpec(local_level=-2))
    backbone = Backbone(resolve(spec), ["align_local"], Vocabulary(60))
    found = backbone.local_image(torch.randn(2, 3, 32, 48))
    assert backbone.local_grid(found) == (8, 12) and backbone.embed_patches(found).shape == (2, 96, 64)


def test_shape_and_gradient() -> None:
    encoder = Backbone(resolve(SPEC), ["image"]).image
    found = encoder(torch.randn(2, 3, 32, 48), levels=(0, 2))
    assert found.pooled.shape == (2, 32) and found.tokens.shape == (2, 24, 32) and found.grid == (4, 6)
    assert [tuple(level.shape) for level in found.levels] == [(2, 8, 16, 24), (2, 32, 4, 6)]
    found.pooled.sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    with pytest.raises(ValueError, match="visible"):
        encoder(torch.randn(1, 3, 32, 32), torch.zeros(1, 2, dtype=torch.long))


def test_value_another_task_takes_it_from_a_checkpoint(tmp_path: Path) -> None:
    module, _ = every_task.data(exclusive=False)
    trainer = SimpleNamespace(datamodule=module, state=SimpleNamespace(fn="fit"), global_step=0)
    first = VQATask(backbone=SPEC)
    first.trainer = trainer  # type: ignore[assignment]
    first.configure_model()
    content: dict[str, Any] = {"state_dict": first.state_dict()}
    first.on_save_checkpoint(content)
    torch.save(content, tmp_path / "a.ckpt")
    second = ClassificationTask(checkpoint=str(tmp_path / "a.ckpt"), input="both", protocol="cls-multimodal")
    second.trainer = trainer  # type: ignore[assignment]
    second.configure_model()
    parts = second.backbone.image, second.backbone.fusion
    assert isinstance(parts[0], SmallNet) and isinstance(parts[1], SmallFusion) and second.spec == resolve(SPEC)
    kept = first.backbone.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in second.backbone.state_dict().items())


@pytest.mark.parametrize(
    ("part", "field", "line"),
    [
        ("image", "encoder", r"image.encoder is nothere; expected timm/ and the name .* or .*smallnet"),
        ("text", "encoder", "text.encoder is nothere; expected hf/ and a name or bert or smallbert"),
        ("fusion", "kind", "fusion.kind is nothere; expected co_attention or cross or pooled or smallfusion"),
    ],
)
def test_error_checkpoint_names_an_unknown_part(tmp_path: Path, part: str, field: str, line: str) -> None:
    spec = resolve(SPEC).plain()
    spec[part][field] = "nothere"
    cargo = {"spec": spec, "tokenizer": None, "normalisation": [0.5, 0.25]}
    torch.save({"state_dict": {"backbone.image.x": torch.zeros(1)}, CARGO: cargo}, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=rf"a\.ckpt: its backbone\.{line}"):
        read_checkpoint(tmp_path / "a.ckpt")


def test_value_and_error_its_name_in_a_config() -> None:
    assert ("image: {encoder: smallnet}", "Three strided convolutions, for a test.") in list_parts("small*")
    assert {"text: {encoder: bert}", "text: {encoder: hf/<model>}", "fusion: {kind: cross}"} < {
        n for n, _ in list_parts()
    }
    with pytest.raises(UserError, match=r"smallnet, which is one part .* \{image: \{encoder: smallnet\}\}"):
        resolve("smallnet")


def test_value_and_error_heads_that_need_four_levels() -> None:
    encoder = SmallNet()
    assert last_levels(encoder, 5) == SmallNet.levels
    for head in (four_levels, lambda one: DetectionHead(one, 1, 32)):
        with pytest.raises(UserError, match=r"the image encoder has 3 feature maps; expected 4 or more"):
            head(encoder)


@pytest.mark.parametrize(
    ("field", "value"), [("pool", "cls"), ("stem", "convolution"), ("weights", "a.pth"), ("options", {"depth": 2})]
)
def test_error_fields_that_the_encoder_does_not_honour(field: str, value: Any) -> None:
    spec = BackboneSpec("mpma_vit_b16", ImageSpec("smallnet", **{field: value}))
    with pytest.raises(UserError, match=rf"image\.{field} is .*, which smallnet does not use; leave it out"):
        Backbone(resolve(spec), ["image"])


def test_value_every_module_of_the_package_registers_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "ownparts"
    package.mkdir()
    named = "from mpma_lightning.backbones.registry import Registry\nREGISTRY = Registry(__name__)\n"
    (package / "__init__.py").write_text(named)
    module = 'from ownparts import REGISTRY\n@REGISTRY.register("image", "x")\ndef x(spec):\n    "An x."\n'
    (package / "own.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    registry = import_module("ownparts").REGISTRY
    assert "ownparts.own" not in sys.modules  # not before the first look-up
    assert registry.entries("image") == [("x", "An x.")] and registry.names("text") == []
