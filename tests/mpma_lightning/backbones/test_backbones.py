"""The backbone registry: presets, token dropping, any grid, fusion."""

import json
import shutil

import pytest
import torch
from model_fixtures import SMALL, small_backbone, small_state
from timm.models.vision_transformer import VisionTransformer
from transformers import BertConfig, BertModel

from data_modules.errors import UserError
from mpma_lightning.backbones import (
    PARTS,
    Backbone,
    BackboneSpec,
    FusionSpec,
    ImageSpec,
    TextSpec,
    Vocabulary,
    list_backbones,
    resolve,
)
from mpma_lightning.backbones.convolutional_stem import ConvolutionalStem
from mpma_lightning.backbones.encoder import Levels
from mpma_lightning.backbones.families import is_supported
from mpma_lightning.backbones.spec import Option
from mpma_lightning.backbones.vit import ViTEncoder
from mpma_lightning.heads.levels import four_levels


@pytest.mark.parametrize("name", [name for name, _ in list_backbones("mpma_*")])
def test_preset_smoke(name: str) -> None:
    backbone = Backbone(resolve(name), PARTS, Vocabulary(100))
    counts = backbone.count_parameters()
    assert set(counts) == set(PARTS) and all(counts.values())


@pytest.mark.parametrize("stem", ["linear", "convolution"])
def test_visible_tokens_shape_and_value(stem: str) -> None:
    encoder = small_backbone("image", image={"stem": stem}).image.eval()
    image = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    everything = encoder(image, torch.arange(16).repeat(2, 1))
    assert torch.allclose(everything.tokens, encoder(image).tokens)
    some = encoder(image, torch.tensor([[0, 5, 9], [1, 2, 15]]))
    assert some.tokens.shape == (2, 3, 32) and some.prefix.shape == (2, 1, 32) and some.grid == (4, 4)
    changed = image.clone()
    changed[0, :, 8:16, 16:24] += 5  # patch 6, hidden in the first sample
    assert torch.equal(encoder(changed, torch.tensor([[0, 5, 9], [1, 2, 15]])).tokens, some.tokens)


@pytest.mark.parametrize("options", [{}, {"reg_tokens": 2}, {"no_embed_class": True, "pre_norm": True}])
@pytest.mark.parametrize("side", [32, 48])
def test_value_vit_is_timms(options: dict[str, Option], side: int) -> None:
    """Our walk through the blocks gives what timm's own gives, with all patches, levels included."""
    changed = {"options": {**(SMALL.image.options or {}), **options}}
    encoder = small_backbone("image", image=changed).image.eval()
    image = torch.randn(2, 3, side, side, dtype=torch.float64)
    found = encoder(image, levels=(1, 0, 1))
    tokens = encoder.vit.forward_features(image)
    final, (first, second) = encoder.vit.forward_intermediates(image, indices=[0, 1], norm=True)
    assert torch.equal(torch.cat([found.prefix, found.tokens], 1), tokens) and torch.equal(tokens, final)
    assert torch.equal(found.levels[1], first)
    assert all(torch.equal(found.levels[i], second) for i in (0, 2))


def test_value_levels_and_depths_of_the_protocol() -> None:
    vit, cnn = small_backbone("image").image, Backbone(resolve("timm/resnet18"), ["image"]).image
    assert vit.levels == Levels((0, 1), (32, 32), (8, 8)) and vit.levels.one_resolution and vit.can_drop_patches
    assert cnn.levels == Levels((0, 1, 2, 3, 4), (64, 64, 128, 256, 512), (2, 4, 8, 16, 32))
    assert not cnn.levels.one_resolution and not cnn.can_drop_patches
    assert vit.depths == {"vit.": 3, "vit.blocks.0.": 2, "vit.blocks.1.": 1, "vit.norm": 0} and cnn.depths == {}
    image = torch.randn(1, 3, 64, 64)
    maps = cnn(image, levels=cnn.levels.indices).levels
    assert [(m.shape[1], 64 // m.shape[2]) for m in maps] == list(
        zip(cnn.levels.widths, cnn.levels.strides, strict=True)
    )


@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224",
        "resnet18",
        "convnext_atto",
        "regnety_002",
        "efficientnet_b0",
        "mobilenetv3_small_050",
        "pvt_v2_b0",
    ],
)
def test_value_listed_models_are_encoders(name: str) -> None:
    """Tokens and maps lie on the image: one listed model of a family stands for it."""
    assert is_supported(name) and f"timm/{name}" in [listed for listed, _ in list_backbones("timm/*")]
    encoder = Backbone(resolve(f"timm/{name}"), ["image"]).image.eval()
    image = torch.randn(1, 3, 224, 224)
    found, levels = encoder(image, levels=encoder.levels.indices[-2:]), encoder.levels.at((-2, -1))
    assert found.grid == (224 // encoder.patch_size,) * 2
    assert found.tokens.shape == (1, (224 // encoder.patch_size) ** 2, encoder.width)
    assert [(m.shape[1], 224 // m.shape[2]) for m in found.levels] == [*zip(levels.widths, levels.strides, strict=True)]


REFUSED = ["swinv2_cr_tiny_224", "hiera_tiny_224", "mixer_s16_224", "twins_svt_small", "vit_relpos_small_patch16_224"]


@pytest.mark.parametrize("name", REFUSED)
def test_error_models_that_are_not_listed(name: str) -> None:
    assert f"timm/{name}" not in [listed for listed, _ in list_backbones("timm/*")]
    with pytest.raises(UserError, match="of a family that is not supported"):
        Backbone(resolve(f"timm/{name}"), ["image"])


def test_value_and_error_cnn_whose_maps_do_not_align_with_the_image() -> None:
    backbone = Backbone(resolve("timm/inception_v3"), ["image"]).eval()
    image = torch.randn(1, 3, 128, 128)
    found = backbone.image(image)
    assert torch.allclose(found.pooled, backbone.image.cnn(image), atol=1e-5) and found.grid is None
    with pytest.raises(UserError, match=r"feature maps of timm's InceptionV3 do not align .* choose another"):
        four_levels(backbone.image)
    with pytest.raises(UserError, match=r"timm/inception_v3, whose feature maps do not align .* needs patch tokens"):
        Backbone(resolve("timm/inception_v3"), ["align_local"], Vocabulary(100))


@pytest.mark.parametrize(
    ("encoder", "options"),
    [
        ("timm/resnet18", {"depth": 2}),
        ("timm/resnet18", {"output_stride": 7}),
        ("timm/vit_tiny_patch16_224", {"embed_dim": 130}),
    ],
)
def test_error_options_that_timm_refuses_are_one_line(encoder: str, options: dict[str, Option]) -> None:
    with pytest.raises(UserError, match=f"{encoder} cannot be created with .*options {options}") as caught:
        Backbone(resolve(BackboneSpec(image=ImageSpec(encoder, options=options))), ["image"])
    assert "\n" not in str(caught.value)


def test_any_grid_shape() -> None:
    features = small_backbone("image").image(torch.randn(1, 3, 48, 64, dtype=torch.float64))
    assert features.grid == (6, 8) and features.tokens.shape == (1, 48, 32)


@pytest.mark.parametrize("stem", ["linear", "convolution"])
def test_levels_shape_and_error(stem: str) -> None:
    encoder = small_backbone("image", image={"stem": stem}).image
    image = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    assert [tuple(level.shape) for level in encoder(image, levels=(0, 1)).levels] == [(1, 32, 4, 4)] * 2
    with pytest.raises(ValueError, match="whole image"):
        encoder(image, torch.zeros(1, 2, dtype=torch.long), levels=(0,))
    with pytest.raises(UserError, match="encoder is 36; expected a multiple of its patch, 8"):
        encoder(torch.randn(1, 3, 36, 36, dtype=torch.float64))


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_pooling_value(pool: str) -> None:
    features = small_backbone("image", image={"pool": pool}).image(torch.randn(2, 3, 32, 32, dtype=torch.float64))
    expected = features.prefix[:, 0] if pool == "cls" else features.tokens.mean(1)
    assert torch.equal(features.pooled, expected)


def test_value_mean_before_norm_is_timms_average_pooling() -> None:
    """MRM's models_vit.py and timm's ``global_pool="avg"``: the mean of the patches, then one norm of its own."""
    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
    published = VisionTransformer(**sizes, num_classes=0, global_pool="avg").double().eval()
    vit = VisionTransformer(**sizes, num_classes=0, global_pool="token", dynamic_img_size=True).double().eval()
    vit.load_state_dict(published.state_dict(), strict=False)
    torch.nn.init.normal_(vit.norm.weight)
    image = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    encoder = ViTEncoder(vit, "mean_before_norm")
    head = torch.nn.LayerNorm(32, eps=1e-6).double()
    torch.testing.assert_close(head(encoder(image).pooled), published(image))
    assert not any(weight.requires_grad for weight in vit.norm.parameters()) and "vit.norm" not in encoder.depths
    assert not torch.allclose(ViTEncoder(vit, "mean")(image).pooled, encoder(image).pooled)


def test_error_mean_before_norm_of_an_encoder_that_norms_after_it() -> None:
    spec = BackboneSpec("timm/beit_base_patch16_224", image=ImageSpec(pool="mean_before_norm", options={"depth": 1}))
    with pytest.raises(UserError, match="expected mean or cls for this encoder"):
        Backbone(resolve(spec), ["image"])


def test_text_mean_pooling_ignores_padding() -> None:
    text = small_backbone("text", text={"pool": "mean"}).text.eval()
    ids, mask = torch.tensor([[2, 9, 8, 3, 0, 0]]), torch.tensor([[1, 1, 1, 1, 0, 0]])
    assert torch.allclose(text(ids, mask).pooled, text(ids[:, :4], mask[:, :4]).pooled)


def test_cnn_shape_and_error() -> None:
    encoder = Backbone(resolve("timm/resnet18"), ["image"]).image
    features = encoder(torch.randn(1, 3, 64, 64))
    assert features.tokens.shape == (1, 4, 512) and features.prefix.shape[1] == 0
    with pytest.raises(ValueError, match="cannot drop"):
        encoder(torch.randn(1, 3, 64, 64), torch.zeros(1, 2, dtype=torch.long))


def test_padding_does_not_reach_the_fused_text() -> None:
    backbone = small_backbone("fusion").eval()
    state, padded = small_state(backbone), small_state(backbone)
    padded.report_mask.input_ids = padded.report_mask.input_ids.clone()
    padded.report_mask.input_ids[:, 11] = 33
    assert torch.allclose(state.fused[:, :11], padded.fused[:, :11])


def test_pooled_fusion_without_image_signal_is_the_text_encoder() -> None:
    backbone = small_backbone("fusion", fusion={"kind": "pooled"}).eval()
    state = small_state(backbone)
    torch.nn.init.zeros_(backbone.fusion.project.weight)
    torch.nn.init.zeros_(backbone.fusion.project.bias)
    assert torch.allclose(state.fused, state.text_features.tokens)


def test_published_text_encoder_from_a_folder(tmp_path) -> None:
    config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32)
    bert = BertModel(config, add_pooling_layer=False).to(torch.bfloat16)
    bert.save_pretrained(tmp_path)
    backbone = Backbone(resolve(BackboneSpec(name=f"hf/{tmp_path}", text=TextSpec(depth=2))), ["text"], Vocabulary(50))
    assert len(backbone.text.bert.encoder.layer) == 2
    assert backbone.text.word_embeddings.dtype == torch.float32
    assert torch.equal(backbone.text.word_embeddings, bert.embeddings.word_embeddings.weight.float())
    with pytest.raises(UserError, match="50 vocabulary rows"):
        Backbone(resolve(f"hf/{tmp_path}"), ["text"], Vocabulary(60))


def test_value_published_text_encoder_is_rebuilt_from_its_config(tmp_path) -> None:
    """As from a checkpoint on a machine that does not have the model: same tensors, same output."""
    config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32)
    BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path / "model")
    spec = resolve(BackboneSpec(name=f"hf/{tmp_path}/model", text=TextSpec(depth=2)))
    first = Backbone(spec, ["text"], Vocabulary(50)).eval()
    carried = json.loads(json.dumps(first.text_config))
    shutil.rmtree(tmp_path / "model")
    again = Backbone(spec, ["text"], Vocabulary(50), carried)
    assert again.training and again.text_config == carried
    again.load_state_dict(first.state_dict())
    ids, mask = torch.arange(1, 7)[None], torch.ones(1, 6, dtype=torch.long)
    assert torch.equal(again.eval().text(ids, mask).tokens, first.text(ids, mask).tokens)
    with pytest.raises(UserError, match="could not be loaded"):
        Backbone(spec, ["text"], Vocabulary(50))


def test_value_published_text_encoder_trains_with_the_dropout_of_the_spec(tmp_path) -> None:
    config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    spec = resolve(BackboneSpec(name=f"hf/{tmp_path}", text=TextSpec(dropout=0.3)))
    bert = Backbone(spec, ["text"], Vocabulary(50)).text.bert
    assert all(module.training for module in bert.modules())
    assert {module.p for module in bert.modules() if isinstance(module, torch.nn.Dropout)} == {0.3}
    ids = torch.arange(1, 7)[None]
    assert not torch.equal(bert(ids).last_hidden_state, bert(ids).last_hidden_state)
    assert bert.encoder.layer[0].attention.self.config.attention_probs_dropout_prob == 0.3


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mpma_vit_b61", "did you mean 'mpma_vit_b16'"),
        (BackboneSpec(image=ImageSpec("timm/vit_base_patch16_242")), "did you mean 'timm/vit_base_patch16_2"),
        (BackboneSpec(fusion=FusionSpec("corss")), "did you mean 'cross'"),
        (BackboneSpec(fusion=FusionSpec(memory="txt")), "did you mean 'text'"),
        (BackboneSpec(image=ImageSpec("tim/resnet18")), "unknown image"),
    ],
)
def test_unknown_name_error(spec, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Backbone(resolve(spec), PARTS, Vocabulary(100))


def test_text_longer_than_positions_error() -> None:
    with pytest.raises(UserError, match="max_tokens to 512"):
        ids = torch.zeros(1, 513, dtype=torch.long)
        small_backbone("text").text(ids, ids + 1)


def test_partial_spec_keeps_the_presets_choices() -> None:
    spec = resolve(BackboneSpec("mpma_vit_t16", ImageSpec(options={"depth": 3}), fusion=FusionSpec(memory="none")))
    assert spec.image.options == {"embed_dim": 128, "depth": 3, "num_heads": 4}
    assert spec.fusion.memory == "none" and spec.text.width == 128
    assert resolve(SMALL).align.width == 8
    other = resolve(BackboneSpec("mpma_vit_t16", ImageSpec("timm/resnet18")))
    assert other.image.options == {}  # a preset's options are for its own encoder


def test_convolutional_stem_sees_brightness() -> None:
    embed = small_backbone("image", image={"stem": "convolution"}).image.vit.patch_embed
    image = torch.zeros(1, 3, 32, 32, dtype=torch.float64)
    image[..., :8, :8] = 1
    tokens = embed(image)[0]
    assert float((tokens[0, 0] - tokens[3, 3]).norm().detach()) > 0.1


@pytest.mark.parametrize("patch", [4, 8, 16])
def test_convolutional_stem_looks_where_its_patch_is(patch: int) -> None:
    """Centre of what a patch depends on, by squared gradients, against the centre of the patch."""
    torch.manual_seed(0)
    power = torch.zeros(7 * patch)
    for _ in range(20):
        stem = ConvolutionalStem(patch, (7, 7), 32)
        image = torch.randn(1, 3, 7 * patch, 7 * patch, requires_grad=True)
        (stem(image)[0, 3, 3] * torch.randn(32)).sum().backward()
        power += image.grad.square().sum((0, 1, 2))  # type: ignore[union-attr]
    places = torch.arange(7 * patch) + 0.5
    assert abs(float((power * places).sum() / power.sum()) - 3.5 * patch) < patch / 8


def test_convolutional_stem_with_an_odd_patch_error() -> None:
    with pytest.raises(UserError, match="patch size is 14"):
        ConvolutionalStem(14, (2, 2), 8)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"text": {"dropout": 1.0}}, "model.backbone.text.dropout is 1.0; expected 0 <= dropout < 1"),
        ({"fusion": {"dropout": -0.1}}, "model.backbone.fusion.dropout is -0.1; expected 0 <= dropout < 1"),
        ({"fusion": {"slots": -1}}, "model.backbone.fusion.slots is -1"),
        ({"text": {"heads": 7}}, "model.backbone.text.heads is 7; expected a divisor of the width, 24"),
        ({"fusion": {"heads": 5}}, "model.backbone.fusion.heads is 5; expected a divisor"),
    ],
)
def test_numbers_out_of_range_error(changes: dict[str, dict[str, object]], line: str) -> None:
    with pytest.raises(UserError, match=line):
        small_backbone("fusion", **changes)
