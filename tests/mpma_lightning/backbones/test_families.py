"""Families of timm beyond plain ViTs and CNNs: they give timm's features, for tasks that mask no patches."""

from pathlib import Path

import pytest
import timm
import torch

from data_modules.errors import UserError
from mpma_lightning.backbones import Backbone, BackboneSpec, ImageSpec, Vocabulary, resolve
from mpma_lightning.backbones.encoder import ImageEncoder
from mpma_lightning.backbones.spec import Option
from mpma_lightning.heads.levels import four_levels

SMALL: dict[str, Option] = {"embed_dim": 32, "depth": 2, "num_heads": 2}
STAGES: dict[str, Option] = {"embed_dim": 24, "depths": [1, 2, 1, 1]}
WHOLE = {
    "eva02_tiny_patch14_336": SMALL | {"patch_size": 16},
    "vit_small_patch16_dinov3": SMALL,
    "beit_base_patch16_224": SMALL,
    "beitv2_base_patch16_224": SMALL,
}
SWIN = ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"]
DEIT = ["deit3_small_patch16_224", "deit_tiny_distilled_patch16_224"]
ANY = [*((name, WHOLE[name]) for name in WHOLE), *((name, STAGES) for name in SWIN), *((name, SMALL) for name in DEIT)]


def encoder(name: str, options: dict[str, Option], size: int = 64, **fields: str) -> ImageEncoder:
    torch.manual_seed(0)
    image = ImageSpec(f"timm/{name}", size=size, options=options, **fields)  # type: ignore[arg-type]
    return Backbone(resolve(BackboneSpec(image=image)), ["image"]).image


@pytest.mark.parametrize(("name", "options"), ANY)
def test_shape_and_gradient(name: str, options: dict[str, Option]) -> None:
    image, made = torch.randn(2, 3, 64, 64), encoder(name, options)
    levels = four_levels(made)
    found = made(image, levels=levels.indices)
    side = 64 // made.patch_size
    assert found.grid == (side, side) and found.tokens.shape == (2, side * side, made.width)
    assert found.pooled.shape == (2, made.width)
    shapes = [
        (2, width, 64 // stride, 64 // stride) for width, stride in zip(levels.widths, levels.strides, strict=True)
    ]
    assert [tuple(level.shape) for level in found.levels] == shapes
    made(image).pooled.square().sum().backward()
    assert isinstance(made, torch.nn.Module)
    for parameter_name, parameter in made.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), parameter_name


HEADLESS = [
    *("convnext_atto", "edgenext_xx_small", "ghostnet_050", "lcnet_050", "mobilenetv3_small_050", "resnet18"),
    *("efficientnet_b0", "inception_next_atto", "hgnetv2_b0", "lowformer_b0", "mobilenetv4_conv_small", "vgg11"),
]
PLAIN = [("vit_base_patch16_siglip_224", SMALL), ("vit_base_patch16_reg4_gap_256", SMALL)]


@pytest.mark.parametrize(("name", "options"), [*((name, {}) for name in HEADLESS), *PLAIN])
def test_gradient_reaches_every_parameter(name: str, options: dict[str, Option]) -> None:
    """What only timm's classifier reads is not built: DDP refuses unused parameters."""
    made = encoder(name, options)
    assert isinstance(made, torch.nn.Module)
    made(torch.randn(2, 3, 64, 64)).pooled.square().sum().backward()
    assert [parameter for parameter, value in made.named_parameters() if value.grad is None] == []


@pytest.mark.parametrize("name", WHOLE)
def test_value_unmasked_vit_is_timms(name: str) -> None:
    made = encoder(name, WHOLE[name]).eval()
    image = torch.randn(2, 3, 64, 64)
    found = made(image, levels=(1, 0, 1))
    model = made.vit  # type: ignore[attr-defined]
    assert torch.equal(torch.cat([found.prefix, found.tokens], 1), model.forward_features(image))
    final = found.tokens.transpose(1, 2).unflatten(-1, (4, 4))
    assert torch.equal(found.levels[0], found.levels[2]) and torch.allclose(found.levels[0], final)
    assert torch.equal(found.pooled, model.fc_norm(found.tokens.mean(1)))
    assert torch.equal(encoder(name, WHOLE[name], pool="cls").eval()(image).pooled, model.fc_norm(found.prefix[:, 0]))


def test_value_depths_of_an_unmasked_vit() -> None:
    blocks = {"vit.": 3, "vit.blocks.0.": 2, "vit.blocks.1.": 1}
    assert encoder("vit_small_patch16_dinov3", SMALL).depths == blocks | {"vit.norm": 0}
    assert encoder("beit_base_patch16_224", SMALL).depths == blocks | {"vit.fc_norm": 0}


@pytest.mark.parametrize("name", SWIN)
def test_value_swin_is_timms(name: str) -> None:
    made = encoder(name, STAGES).eval()
    assert made.levels.widths == (24, 48, 96, 192) and made.levels.strides == (4, 8, 16, 32)
    image = torch.randn(2, 3, 64, 64)
    found, model = made(image, levels=(3, 0)), made.swin  # type: ignore[attr-defined]
    last = model.forward_features(image)  # (B, H, W, C)
    assert torch.equal(found.tokens.unflatten(1, found.grid), last)
    assert torch.allclose(found.pooled, model.forward_head(last), atol=1e-6)
    assert torch.allclose(model.norm(found.levels[0].permute(0, 2, 3, 1)), last, atol=1e-6)
    assert made(torch.randn(1, 3, 96, 128)).grid == (3, 4)  # other sides than image.size


@pytest.mark.parametrize("name", [*WHOLE, *SWIN])
def test_error_no_masking_and_other_sides(name: str) -> None:
    made = encoder(name, WHOLE.get(name, STAGES))
    assert not made.can_drop_patches
    with pytest.raises(ValueError, match="visible"):
        made(torch.randn(1, 3, 64, 64), torch.zeros(1, 2, dtype=torch.long))
    with pytest.raises(UserError, match="encoder is 72; expected a multiple of its patch"):
        made(torch.randn(1, 3, 72, 72))
    if name.startswith("beit"):
        with pytest.raises(UserError, match=r"encoder is 96; expected 64, .* set model.backbone.image.size"):
            made(torch.randn(1, 3, 96, 96))


@pytest.mark.parametrize("name", DEIT)
def test_value_deit_drops_patches(name: str) -> None:
    made = encoder(name, SMALL).eval()
    image, visible = torch.randn(1, 3, 64, 64), torch.arange(16)[None]
    assert torch.allclose(made(image, visible).tokens, made(image).tokens, atol=1e-6)
    assert made(image, visible[:, :3]).tokens.shape == (1, 3, 32)


@pytest.mark.parametrize("options", [{"depths": []}, {"depths": [1.5, 1]}, {"depths": [1] * 9}, {"depths": [1 << 20]}])
def test_error_stages(options: dict[str, Option]) -> None:
    with pytest.raises(UserError, match=r"image\.options"):
        encoder(SWIN[0], options)


@pytest.mark.parametrize(
    ("name", "field", "value"), [(SWIN[0], "pool", "cls"), ("beit_base_patch16_224", "stem", "convolution")]
)
def test_error_fields_that_a_family_does_not_use(name: str, field: str, value: str) -> None:
    with pytest.raises(UserError, match=rf"image\.{field} is {value}, which timm/{name} does not use"):
        encoder(name, WHOLE.get(name, STAGES), **{field: value})


def test_shape_swin_with_text_for_zero_shot_and_fusion() -> None:
    image = ImageSpec(f"timm/{SWIN[0]}", size=64, options=STAGES)
    spec = BackboneSpec("mpma_vit_t16", image)
    backbone = Backbone(resolve(spec), ["align_global", "fusion"], Vocabulary(50))
    features, ids = backbone.image(torch.randn(2, 3, 64, 64)), torch.arange(2, 14).reshape(2, 6)
    assert torch.allclose(backbone.embed_image(features).norm(dim=1), torch.ones(2))
    assert backbone.fuse(features, None, ids, torch.ones_like(ids)).shape == (2, 6, 128)


@pytest.mark.parametrize(("name", "options"), ANY)
def test_value_weights_of_a_file(name: str, options: dict[str, Option], tmp_path: Path) -> None:
    """timm's tensors at another side: positions and windows are resampled, all others are equal."""
    path = tmp_path / "timm.pth"
    torch.manual_seed(1)
    model = timm.create_model(name, num_classes=0, img_size=64, **options)
    torch.save({"model": model.state_dict()}, path)
    for size in (64, 128):
        made = encoder(name, options, size, weights=str(path))
        assert isinstance(made, torch.nn.Module)
        found = {key.partition(".")[2]: value for key, value in made.state_dict().items()}
        same = [key for key, value in model.state_dict().items() if key in found and value.shape == found[key].shape]
        assert all(torch.equal(found[key], model.state_dict()[key]) for key in same) and len(same) > 20
        if size == 64:
            assert set(found) == set(same)
