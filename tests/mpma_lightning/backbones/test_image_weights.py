"""``image.weights``: a file fills the image encoder or is refused."""

from typing import Any

import pytest
import timm
import torch
from model_fixtures import small_backbone
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from torch import Tensor

from data_modules.errors import UserError
from mpma_lightning.backbones import Backbone, resolve


def bare() -> dict[str, Tensor]:
    """A state dict with timm's names, of values that no start draws."""
    encoder = small_backbone("image").float().image
    torch.manual_seed(5)
    return {name: torch.randn_like(value) for name, value in encoder.vit.state_dict().items()}


@pytest.mark.parametrize("prefix", ["", "module.", "encoder."])
def test_value_file_fills_the_encoder(tmp_path, prefix: str) -> None:
    state = bare()
    torch.save({prefix + name: value for name, value in state.items()}, tmp_path / "a.pth")
    loaded = small_backbone("image", image={"weights": str(tmp_path / "a.pth")}).image.vit.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], value.double()) for name, value in state.items())


def test_value_positions_of_another_grid_are_resampled_as_timm_does(tmp_path) -> None:
    state = bare()
    save_file(state, tmp_path / "a.safetensors")
    vit = small_backbone("image", image={"size": 48, "weights": str(tmp_path / "a.safetensors")}).image.vit
    expected = resample_abs_pos_embed(state["pos_embed"], new_size=[6, 6], num_prefix_tokens=1)
    assert torch.allclose(vit.pos_embed, expected.double())
    assert torch.equal(vit.patch_embed.proj.weight, state["patch_embed.proj.weight"].double())


def test_value_what_a_file_lacks_starts_like_mae(tmp_path) -> None:
    state = bare()
    del state["blocks.1.attn.proj.weight"]
    torch.save(state, tmp_path / "a.pth")
    start = small_backbone("image").image.vit
    vit = small_backbone("image", image={"weights": str(tmp_path / "a.pth")}).image.vit
    assert torch.equal(vit.blocks[1].attn.proj.weight, start.blocks[1].attn.proj.weight)
    assert torch.equal(vit.cls_token, state["cls_token"].double())


def test_value_file_of_a_cnn_without_its_counters(tmp_path) -> None:
    """torchvision's older files carry no ``num_batches_tracked``."""
    source = Backbone(resolve("timm/resnet18"), ["image"]).image.cnn
    state = {name: value for name, value in source.state_dict().items() if "num_batches" not in name}
    torch.save(state, tmp_path / "a.pth")
    spec = resolve("timm/resnet18")
    spec.image.weights = str(tmp_path / "a.pth")
    loaded = Backbone(spec, ["image"]).image.cnn.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


@pytest.mark.parametrize(("weights", "pretrained", "started"), [(None, False, 1), ("hub", True, 0)])
def test_value_hub_weights_are_timms_and_stay(monkeypatch, weights: str | None, pretrained: bool, started: int) -> None:
    asked, starts, create = [], [], timm.create_model

    def without_network(name: str, pretrained: bool, **options: Any) -> Any:
        asked.append(pretrained)
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", without_network)
    monkeypatch.setattr("mpma_lightning.backbones.image.init_like_mae", starts.append)
    small_backbone("image", image={"weights": weights})
    assert asked == [pretrained] and len(starts) == started


def test_error_file_that_does_not_fit(tmp_path) -> None:
    nonsense, prefixed = tmp_path / "nonsense.pth", tmp_path / "prefixed.pth"
    torch.save({"weight": torch.zeros(3), "pos_embed": torch.zeros(2)}, nonsense)
    torch.save({f"visual.tower.{name}": value for name, value in bare().items()}, prefixed)
    for path in (nonsense, prefixed, tmp_path / "none.pth"):
        with pytest.raises(UserError, match=path.name):
            small_backbone("image", image={"weights": str(path)})
    with pytest.raises(UserError, match=r"part 'image'.*Give model.backbone.image.weights a file of the timm model"):
        small_backbone("image", image={"weights": str(prefixed)})


def test_error_weights_with_a_convolutional_stem() -> None:
    for weights in ("hub", "a.pth"):
        with pytest.raises(UserError, match=f"image.weights is {weights} and image.stem is convolution"):
            small_backbone("image", image={"stem": "convolution", "weights": weights})
