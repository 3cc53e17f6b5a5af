"""What local alignment reads: a chosen level of the image encoder, in which a patch knows its surroundings only."""

from typing import Any

import pytest
import torch
from model_fixtures import SMALL, small_backbone, small_state
from torch import Tensor

from data_modules.errors import UserError
from mpma_lightning.backbones import AlignSpec, Backbone, BackboneSpec, ImageSpec, Vocabulary, resolve
from mpma_lightning.backbones.carried import carried_spec
from mpma_lightning.backbones.features import Features
from mpma_lightning.objectives.local_alignment import LocalAlignmentOptions


def aligned(level: int | None, name: str = "mpma_vit_t16", **image: Any) -> Backbone:
    torch.manual_seed(0)
    spec = BackboneSpec(name, ImageSpec(**image), align=AlignSpec(local_level=level))
    return Backbone(resolve(spec), ["align_local"], Vocabulary(60)).eval()


def local(backbone: Backbone, image: Tensor, visible: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        found = backbone.local_image(image, visible)
    assert found.local is not None
    return found.local


@pytest.mark.parametrize(("stem", "reach"), [("linear", 32), ("convolution", 40)])
def test_value_pixels_far_away_do_not_move_a_token_before_attention(stem: str, reach: int) -> None:
    """The top two rows of patches end at row 32; the film changes from row ``reach``, or one row before."""
    backbone = aligned(0, stem=stem)
    image, other = torch.randn(2, 2, 3, 112, 112)
    top, bottom = slice(0, 2 * 7), slice(5 * 7, 7 * 7)
    for kept, moves in ((reach, False), (reach - 1, True)):
        changed = torch.cat([image[:, :, :kept], other[:, :, kept:]], 2)
        before, after = local(backbone, image), local(backbone, changed)
        assert bool((before[:, top] - after[:, top]).abs().max() > 1e-6) == moves
        assert float((before[:, bottom] - after[:, bottom]).abs().max()) > 0.1


@pytest.mark.parametrize("stem", ["linear", "convolution"])
@pytest.mark.parametrize("level", [0, 1])
def test_value_hidden_patches_stay_unseen(stem: str, level: int) -> None:
    backbone = small_backbone("align_local", image={"stem": stem}, align={"local_level": level}).eval()
    image, visible = torch.randn(2, 3, 32, 32, dtype=torch.float64), torch.tensor([[0, 5, 9], [1, 2, 15]])
    some = local(backbone, image, visible)
    image[0, :, 8:16, 16:24] += 5  # patch 6, hidden in the first sample
    assert some.shape == (2, 3, 32) and torch.equal(local(backbone, image, visible), some)
    whole = torch.arange(16).repeat(2, 1)
    assert torch.allclose(local(backbone, image, whole), local(backbone, image))


def test_value_levels_of_a_vit_are_timms() -> None:
    image = torch.randn(2, 3, 32, 48, dtype=torch.float64)
    for level in (0, 1):
        backbone = small_backbone("align_local", align={"local_level": level}).eval()
        vit = backbone.image.vit
        before = vit.norm(vit._pos_embed(vit.patch_embed(image)))[:, 1:]
        first = vit.forward_intermediates(image, indices=[0], norm=True, output_fmt="NLC", intermediates_only=True)[0]
        assert torch.equal(local(backbone, image), first if level else before)
        assert backbone.local_grid(backbone.local_image(image)) == (4, 6)


@pytest.mark.parametrize("level", [-1, 2])
def test_value_the_last_level_is_the_tokens(level: int) -> None:
    backbone = small_backbone("align_local", align={"local_level": level})
    found = backbone.local_image(small_state(backbone).image)
    assert found.local is None and backbone.local_grid(found) == (4, 4)
    assert torch.equal(backbone.embed_patches(found), backbone.align_local.image(found.tokens))


@pytest.mark.parametrize(
    ("encoder", "level", "width", "side"),
    [
        ("timm/resnet18", -2, 256, 4),
        ("timm/resnet18", 3, 256, 4),
        ("timm/convnext_atto", -2, 160, 4),
        ("timm/swin_tiny_patch4_window7_224", -2, 384, 4),
        ("timm/beit_base_patch16_224", 1, 64, 4),
    ],
)
def test_value_levels_of_other_encoders(encoder: str, level: int, width: int, side: int) -> None:
    small = {"embed_dim": 64, "depth": 2, "num_heads": 2} if "beit" in encoder else None
    backbone = aligned(level, "mpma_vit_b16", encoder=encoder, size=64, options=small)
    image = torch.randn(1, 3, 64, 64)
    found, plain = backbone.local_image(image), backbone.image(image)
    assert found.local is not None and found.local.shape == (1, side * side, width)
    assert backbone.local_grid(found) == (side, side) and backbone.embed_patches(found).shape == (1, side * side, 128)
    assert torch.allclose(found.tokens, plain.tokens, atol=1e-5) and torch.allclose(
        found.pooled, plain.pooled, atol=1e-5
    )
    number = level % 5 if "resnet" in encoder else level % 4 if level < 0 else level - 1
    expected = backbone.image(image, levels=(number,)).levels[0].flatten(2).transpose(1, 2)
    assert torch.equal(found.local, expected)


def test_value_maps_come_in_the_order_of_the_request() -> None:
    encoder = aligned(-2, "mpma_vit_b16", encoder="timm/resnet18", size=64).image
    found = encoder(torch.randn(1, 3, 64, 64), levels=(4, 1, 4), local=3)
    assert [one.shape[1] for one in found.levels] == [512, 64, 512] and found.local.shape == (1, 16, 256)


@pytest.mark.parametrize(
    ("level", "image", "expected"),
    [
        (3, {}, "0 to 2, or -3 to -1 from the end"),
        (-4, {}, "0 to 2, or -3 to -1 from the end"),
        (5, {"encoder": "timm/resnet18"}, "0 to 4"),
        (0, {"encoder": "timm/beit_base_patch16_224", "size": 224}, "1 to 12, or -12 to -1 from the end"),
    ],
)
def test_error_level_out_of_range(level: int, image: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=rf"local_level is {level}; expected {expected}"):
        aligned(level, **image)
    with pytest.raises(UserError, match=r"align\.local_level is 0.5"):
        aligned(0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("level", [0, 1, -1])
def test_gradient_reaches_the_encoder_through_its_outputs(level: int) -> None:
    options = LocalAlignmentOptions()
    backbone = small_backbone(*options.needs, align={"local_level": level})
    state = small_state(backbone)
    total, _ = options.build(backbone).double()(state)
    outputs: list[Tensor] = state.aligned_image.outputs
    gradients = torch.autograd.grad(total, outputs, retain_graph=True, allow_unused=True)
    assert [g is not None and bool(g.any()) for g in gradients] == (
        [True, False] if level == -1 else [False, False, True]
    )
    total.backward()
    assert backbone.image.vit.patch_embed.proj.weight.grad.abs().sum() > 0
    assert (backbone.image.vit.blocks[1].mlp.fc1.weight.grad is None) == (level in (0, 1))


def test_value_a_spec_stored_before_the_field_reads_the_last_level() -> None:
    plain = resolve(SMALL).plain()
    plain["align"]["local_level"] = 0
    assert carried_spec({"spec": plain}).align.local_level == 0
    plain["align"] = {name: value for name, value in plain["align"].items() if name != "local_level"}
    assert carried_spec({"spec": plain}).align.local_level == -1
    plain["align"]["local_level"] = 1
    assert carried_spec({"spec": plain}).align.local_level == 1
    plain["align"]["local_level"] = 10**9
    with pytest.raises(UserError, match=r"align\.local_level is 1000000000"):
        carried_spec({"spec": plain})


def test_value_rows_leave_the_local_tokens_out() -> None:
    backbone = small_backbone("align_local", align={"local_level": 0})
    found = backbone.local_image(small_state(backbone).image)
    assert isinstance(found, Features) and found.local is not None
    assert found.rows(torch.tensor([1, 1])).local is None
