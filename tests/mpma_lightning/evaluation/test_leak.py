"""The corner patch knows a finding elsewhere only if the image leaks into it."""

import numpy as np
import pytest
import torch
from model_fixtures import small_backbone

from mpma_lightning.backbones import Backbone, BackboneSpec, ImageSpec, resolve
from mpma_lightning.evaluation.leak import corner_features, leak_scores, reach
from mpma_lightning.evaluation.metric import by_name


def films(count: int, seed: int) -> tuple[torch.Tensor, np.ndarray]:
    """(N, 3, 112, 112) noise, with a bright band at the bottom where the label is 1."""
    draw = torch.Generator().manual_seed(seed)
    image = torch.randn(count, 1, 112, 112, generator=draw).repeat(1, 3, 1, 1)
    labels = torch.arange(count) % 2
    image[:, :, 76:] += 8 * labels.view(-1, 1, 1, 1)
    return image, labels.numpy()[:, None].astype(float)


@pytest.mark.parametrize("stem", ["linear", "convolution"])
def test_value_attention_and_no_stem_leaks_the_image_into_the_corner(stem: str) -> None:
    torch.manual_seed(0)
    encoder = Backbone(resolve(BackboneSpec("mpma_vit_t16", ImageSpec(stem=stem))), ["image"]).image.eval()
    (train, train_labels), (test, test_labels) = films(240, 0), films(120, 1)
    found = by_name(
        leak_scores(
            corner_features(encoder, train), train_labels, corner_features(encoder, test), test_labels, ["Band"]
        )
    )
    assert set(found) == {
        f"leak/{name}{part}" for name in ("pixels", "level_0", "level_1", "level_2") for part in ("", "/Band")
    }
    assert abs(found["leak/pixels"] - 0.5) < 0.2
    assert abs(found["leak/level_0"] - 0.5) < 0.2 and found["leak/level_1"] > 0.8
    assert found["leak/level_0"] == found["leak/level_0/Band"]


def test_value_corner_features_are_the_first_token() -> None:
    encoder = small_backbone("image").image.eval()
    image = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    found, whole = corner_features(encoder, image), encoder(image, local=1)
    assert list(found) == ["pixels", "level_0", "level_1", "level_2"]
    assert torch.equal(found["pixels"], image[:, 0, :8, :8].reshape(2, 64).float())
    assert torch.equal(found["level_1"], whole.local[:, 0].float())
    assert torch.equal(found["level_2"], whole.tokens[:, 0].float())


@pytest.mark.parametrize(("stem", "reached"), [("linear", 16), ("convolution", 24)])
def test_value_pixels_are_those_that_the_first_level_sees(stem: str, reached: int) -> None:
    torch.manual_seed(0)
    encoder = Backbone(resolve(BackboneSpec("mpma_vit_t16", ImageSpec(stem=stem))), ["image"]).image.eval()
    image = torch.randn(2, 3, 112, 112)
    with torch.inference_mode():  # as the Trainer evaluates
        assert reach(encoder, image) == (reached, reached)
    step = reached // 8
    means = image[:, 0, :reached, :reached].reshape(2, 8, step, 8, step).mean((2, 4)).flatten(1)
    assert torch.allclose(corner_features(encoder, image)["pixels"], means, atol=1e-6)


def test_shape_corner_features_of_a_cnn() -> None:
    encoder = Backbone(resolve("timm/resnet18"), ["image"]).image.eval()
    found = corner_features(encoder, torch.randn(2, 3, 64, 64))  # the first convolution is 7×7, padded by 3
    assert [values.shape[1] for values in found.values()] == [4 * 4, 64, 64, 128, 256, 512]
    bare = Backbone(resolve("timm/inception_v3"), ["image"]).image.eval()
    assert corner_features(bare, torch.randn(1, 3, 128, 128)) == {}
