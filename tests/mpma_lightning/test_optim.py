"""Parameter groups and the schedule."""

import math
from typing import Any

import pytest
import torch
from model_fixtures import small_backbone
from timm.optim import param_groups_layer_decay

from data_modules.errors import UserError
from mpma_lightning.optim import Optim, layer_scales, multiplied, parameter_groups


def test_parameter_groups_value() -> None:
    backbone = small_backbone("fusion")
    names = {id(parameter): name for name, parameter in backbone.named_parameters()}
    groups = parameter_groups(backbone.named_parameters(), 0.05, 1.0, {})
    decayed, plain = sorted(groups, key=lambda group: -group["weight_decay"])
    exempt = {names[id(p)] for p in plain["params"]}
    assert decayed["weight_decay"] == 0.05 and plain["weight_decay"] == 0
    assert len(decayed["params"]) + len(exempt) == len(names)
    for name in names.values():
        no_decay = (
            "bias",
            "norm",
            "LayerNorm",
            "pos_embed",
            "cls_token",
            "memory_",
            "position_embeddings",
            "token_type",
        )
        assert (name in exempt) == any(part in name for part in no_decay), name


def test_frozen_parameters_are_left_out() -> None:
    backbone = small_backbone("image").requires_grad_(False)
    assert parameter_groups(backbone.named_parameters(), 0.05, 1.0, {}) == []


def test_schedule_value() -> None:
    model = torch.nn.Linear(2, 2)
    optimizer, scheduler = Optim(lr=0.5, warmup=0.2, min_lr=0.1).build(model, 512, 100)
    rates = []
    for _ in range(101):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    peak = 0.5 * 512 / 256
    assert rates[0] == pytest.approx(peak / 21) and rates[19] == pytest.approx(peak * 20 / 21)
    assert rates[20] == pytest.approx(peak)
    assert rates[60] == pytest.approx(peak * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 2))))
    assert rates[100] == pytest.approx(0.1 * peak)


def test_value_a_schedule_of_its_own_length() -> None:
    """The published schedule of BenchX, WarmupCosineScheduler: the cosine goes on after its last step."""
    options = {"lr": 1.0, "reference_batch": None, "warmup": 10.0}
    for decay, later in (("cosine", 0.5 * (1 + math.cos(math.pi * 1.5))), ("linear", 0.0)):
        optim = Optim(steps=50, decay=decay, **options)  # type: ignore[arg-type]
        optimizer, scheduler = optim.build(torch.nn.Linear(2, 2), 1, 1000)
        rates = []
        for _ in range(91):
            rates.append(scheduler.get_last_lr()[0])
            optimizer.step()
            scheduler.step()
        assert rates[10] == 1 and rates[30] == pytest.approx(0.5) and rates[50] == pytest.approx(0, abs=1e-12)
        assert rates[70] == pytest.approx(later, abs=1e-12)
    assert 0.5 * (1 + math.cos(math.pi * 1.5)) == pytest.approx(0.5)


def test_value_a_constant_rate() -> None:
    """As the frozen protocols of MGCA are trained: ``warmup: 0, min_lr: 1``."""
    optimizer, scheduler = Optim(lr=5e-4, reference_batch=None, warmup=0, min_lr=1).build(torch.nn.Linear(2, 2), 16, 10)
    for _ in range(12):
        assert all(group["lr"] == 5e-4 for group in optimizer.param_groups)
        optimizer.step()
        scheduler.step()


def test_reference_batch_null_takes_the_rate_as_it_is() -> None:
    optimizer, _ = Optim(lr=0.5, reference_batch=None, warmup=0).build(torch.nn.Linear(2, 2), 512, 10)
    assert optimizer.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize("steps", [float("inf"), -1])
def test_unknown_length_error(steps: float) -> None:
    with pytest.raises(UserError, match="max_steps"):
        Optim().build(torch.nn.Linear(2, 2), 512, steps)


def test_scale_value() -> None:
    backbone = small_backbone("fusion")
    names = {id(parameter): name for name, parameter in backbone.named_parameters()}
    groups = parameter_groups(backbone.named_parameters(), 0.05, 0.1, {"text": 4, "text.bert.embeddings": 2})
    rates = {names[id(p)]: group["lr"] for group in groups for p in group["params"]}
    assert len(rates) == len(names)
    for name, rate in rates.items():
        factor = 2 if name.startswith("text.bert.embeddings") else 4 if name.startswith("text") else 1
        assert rate == pytest.approx(0.1 * factor), name


def test_scales_multiply_value() -> None:
    decay = layer_scales(small_backbone("image").image, 0.5, "image")
    own = {"image": 0.1, "image.vit.blocks.1.attn": 3.0, "head": 50.0}
    model = torch.nn.ModuleDict({**dict(small_backbone("image").named_children()), "head": torch.nn.Linear(2, 2)})
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model.named_parameters(), 0.05, 1.0, multiplied(decay, own))
    rates = {names[id(p)]: group["lr"] for group in groups for p in group["params"]}
    for name, rate in rates.items():
        factors = [
            max(((len(prefix), factor) for prefix, factor in scale.items() if name.startswith(prefix)), default=(0, 1))[
                1
            ]
            for scale in (decay, own)
        ]
        assert rate == pytest.approx(math.prod(factors)), name
    assert rates["image.vit.blocks.1.attn.qkv.weight"] == pytest.approx(1.5)
    assert rates["image.vit.blocks.0.attn.qkv.weight"] == pytest.approx(0.025) and rates["head.weight"] == 50


def test_scale_of_an_unknown_part_error() -> None:
    with pytest.raises(UserError, match="'txet', which fits no trainable parameter"):
        Optim(scale={"txet": 2.0}).build(small_backbone("text"), 8, 10)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"lr": -1.0}, "model.optim.lr is -1.0; expected 0 or more"),
        ({"betas": (0.9, 2.0)}, r"model.optim.betas is \(0.9, 2.0\)"),
        ({"warmup": -3}, "model.optim.warmup is -3"),
    ],
)
def test_numbers_out_of_range_error(options: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line):
        Optim(**options).build(torch.nn.Linear(2, 2), 8, 10)


def test_value_layer_decay_beside_timms() -> None:
    """timm counts the last norm into the last block, BEiT and MAE (and we) as a layer above it: one factor more from
    the last block down. Weight decay of every parameter is timm's."""
    encoder, decay = small_backbone("image").image, 0.65
    named = [(f"image.{name}", parameter) for name, parameter in encoder.named_parameters()]
    ours = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in parameter_groups(named, 0.05, 1.0, layer_scales(encoder, decay, "image"))
        for parameter in group["params"]
    }
    groups = param_groups_layer_decay(
        encoder.vit, weight_decay=0.05, no_weight_decay_list=encoder.vit.no_weight_decay(), layer_decay=decay
    )
    theirs = {id(p): (group["lr_scale"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert ours.keys() == theirs.keys()
    for name, parameter in named:
        rate, weight_decay = theirs[id(parameter)]
        more = 1.0 if name.startswith("image.vit.norm") else decay
        assert ours[id(parameter)] == (pytest.approx(rate * more), weight_decay), name


def test_value_groups_have_names_and_old_states_still_load() -> None:
    module = torch.nn.ModuleDict({"text": torch.nn.Linear(2, 2), "head": torch.nn.Linear(2, 2)})
    optimizer, _ = Optim(scale={"head": 4}).build(module, 256, 10)
    names = ["base", "base (no decay)", "head", "head (no decay)"]
    assert [group["name"] for group in optimizer.param_groups] == names
    before = optimizer.state_dict()
    for group in before["param_groups"]:
        del group["name"]  # as the code of before wrote it
    optimizer.load_state_dict(before)
    assert [group["lr"] for group in optimizer.param_groups] == [group["lr"] for group in before["param_groups"]]
