"""Options of global and local alignment: positives, temperatures, precision."""

import math

import numpy as np
import pytest
import torch
from model_fixtures import build, only, small_backbone, small_state

from mpma_lightning.objectives.global_alignment import GlobalAlignmentOptions, own_contrast
from mpma_lightning.objectives.local_alignment import LocalAlignmentOptions


def test_own_contrast_value_by_hand() -> None:
    logits = torch.tensor([[1.0, 5.0, 2.0], [7.0, 3.0, 0.0]], dtype=torch.float64)
    # rows are columns 1 and 2 of three; column 1 shares a group with column 0, which row 0 then leaves out
    loss = own_contrast(logits, torch.tensor([4, 9]), torch.tensor([4, 4, 9]), first=1)
    expected = [math.log(math.exp(5) + math.exp(2)) - 5, math.log(math.exp(7) + math.exp(3) + 1)]
    assert loss.tolist() == pytest.approx(expected)


def test_multi_positive_mask_value() -> None:
    backbone, built = build(only(GlobalAlignmentOptions(multi_positive="mask")))
    state = small_state(backbone)
    total, count = built["global_alignment"](state)
    image, text = (x.detach().numpy() for x in (state.global_image, state.global_text))
    group, expected = state.group.numpy(), 0.0
    for logits in (image @ text.T / 0.07, text @ image.T / 0.07):
        for i in range(4):
            kept = [j for j in range(4) if j == i or group[j] != group[i]]
            expected += 0.5 * (np.log(np.exp(logits[i, kept]).sum()) - logits[i, i])
    assert float(count) == 4 and float(total.detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("negatives", ["pair", "batch"])
def test_learned_local_temperature(negatives: str) -> None:
    fixed = LocalAlignmentOptions(negatives=negatives)
    learned = LocalAlignmentOptions(negatives=negatives, learn_temperature=True)
    backbone = small_backbone(*fixed.needs)
    objective = learned.build(backbone).double()
    total, _ = objective(small_state(backbone))
    assert torch.allclose(total, fixed.build(backbone)(small_state(backbone))[0])
    total.backward()
    assert objective.log_scale.grad.abs() > 0
    objective.log_scale.data.fill_(9.0)
    assert float(objective.temperature.detach()) == pytest.approx(0.01)


@pytest.mark.parametrize("kind", [GlobalAlignmentOptions, LocalAlignmentOptions])
def test_value_learned_temperature_beyond_its_bound_comes_back(kind) -> None:
    """At log 100 the gradient is the slope of the loss over log 1/τ there, not 0."""
    backbone = small_backbone(*kind.needs)

    def loss(log_scale: float) -> float:
        return float(kind(temperature=math.exp(-log_scale)).build(backbone).double()(small_state(backbone))[0].detach())

    learned = kind(learn_temperature=True).build(backbone).double()
    learned.log_scale.data.fill_(9.0)
    total, _ = learned(small_state(backbone))
    total.backward()
    bound, step = math.log(100), 1e-3
    assert float(total.detach()) == pytest.approx(loss(bound), rel=1e-4)
    slope = (loss(bound + step) - loss(bound - step)) / (2 * step)
    assert abs(slope) > 0.1 and float(learned.log_scale.grad) == pytest.approx(slope, rel=1e-2)
    assert float(learned.log_scale.detach()) == pytest.approx(bound)


def test_value_fixed_temperature_is_taken_as_it_is() -> None:
    backbone = small_backbone("align_global")
    state = small_state(backbone)
    total, _ = GlobalAlignmentOptions(temperature=0.004, multi_positive="mask").build(backbone)(state)
    image, text = (x.detach().numpy() for x in (state.global_image, state.global_text))
    group, expected = state.group.numpy(), 0.0
    for logits in (image @ text.T / 0.004, text @ image.T / 0.004):
        for i in range(4):
            kept = [j for j in range(4) if j == i or group[j] != group[i]]
            expected += 0.5 * (np.logaddexp.reduce(logits[i, kept]) - logits[i, i])
    assert expected > 1 and float(total.detach()) == pytest.approx(expected, rel=1e-5)
    local = LocalAlignmentOptions(temperature=0.004).build(backbone)
    assert local.temperature == 0.004


@pytest.mark.parametrize("kind", [GlobalAlignmentOptions, LocalAlignmentOptions])
def test_value_encoders_stay_in_mixed_precision(kind) -> None:
    backbone = small_backbone(*kind.needs).float()
    seen = set()
    layers = {"image": backbone.image.vit.blocks[0].mlp.fc1, "text": backbone.text.bert.encoder.layer[0].output.dense}
    for name, linear in layers.items():
        linear.register_forward_hook(lambda *call, name=name: seen.add((name, call[2].dtype)))
    state = small_state(backbone)
    state.image = state.image.float()
    with torch.autocast("cpu", torch.bfloat16):
        total, _ = kind().build(backbone)(state)
    assert seen == {("image", torch.bfloat16), ("text", torch.bfloat16)} and total.dtype == torch.float32
