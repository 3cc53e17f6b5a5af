"""The kinds of memory of fusion: values against numpy or by hand, what they add at the start, gradients, use."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from model_fixtures import MASK, VOCABULARY, small_backbone, small_spec, small_state
from torch import Tensor

from mpma_lightning.backbones import Backbone, Vocabulary
from mpma_lightning.backbones.checkpoint import CARGO, read_checkpoint
from mpma_lightning.backbones.fusion_layer import FusionLayer
from mpma_lightning.backbones.memories import DistinctSlots, Gate, LatentMemory, SlotMemory, ZeroKey, of_one_length
from mpma_lightning.backbones.memory_attention import MemoryAttention, RegionLayer, slot_entropy
from mpma_lightning.backbones.spec import FusionSpec
from mpma_lightning.backbones.weights import load_weights

SLOTS = ("text", "image", "latent")


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def softmax(scores: np.ndarray) -> np.ndarray:
    raised = np.exp(scores - scores.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def by_heads(query: np.ndarray, keys: np.ndarray, values: np.ndarray, heads: int) -> np.ndarray:
    """Multi-head attention of (T, D) to (N, D), head by head."""
    width = query.shape[-1] // heads
    columns = [slice(h * width, (h + 1) * width) for h in range(heads)]
    read = [softmax(query[:, c] @ keys[:, c].T / math.sqrt(width)) @ values[:, c] for c in columns]
    return np.concatenate(read, -1)


def array(x: Tensor) -> np.ndarray:
    return x.detach().numpy()


def random(module: torch.nn.Module) -> torch.nn.Module:
    """In float64, with every parameter drawn anew: gates are open, biases are not zero."""
    torch.manual_seed(0)
    for parameter in module.double().parameters():
        parameter.data.normal_(std=0.5)
    return module


def fused(memory: str, **fields: Any) -> Tensor:
    backbone = small_backbone("fusion", fusion={"memory": memory, **fields}).eval()
    return small_state(backbone).fused


def test_text_initial_scale() -> None:
    memory = SlotMemory(768, 64, 40)
    assert float(memory.memory_keys.std().detach()) == pytest.approx(1 / 64, rel=0.05)
    assert float(memory.memory_values.std().detach()) == pytest.approx(1 / 40, rel=0.05)


def test_text_value() -> None:
    memory = SlotMemory(8, 4, 3)
    attention = random(MemoryAttention(8, 6, 8, 2, lambda: memory, 0.0))
    text, image = numbers(1, 4, 8), numbers(1, 5, 6)
    keys = np.concatenate([array(attention.key(image)[0]), math.sqrt(4) * array(memory.memory_keys)])
    values = np.concatenate([array(attention.value(image)[0]), math.sqrt(3) * array(memory.memory_values)])
    expected = attention.out(torch.tensor(by_heads(array(attention.query(text)[0]), keys, values, 2)))
    assert torch.allclose(attention(text, image)[0], expected)


def test_value_a_checkpoint_of_slots_is_todays_text(tmp_path) -> None:
    backbone = small_backbone("fusion").eval()
    state = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    spec = backbone.spec.plain()
    assert spec["fusion"]["memory"] == "text"
    spec["fusion"]["memory"] = "slots"  # as it was called
    cargo = {"spec": spec, "tokenizer": None, "normalisation": [0.5, 0.25]}
    torch.save({"state_dict": state, CARGO: cargo}, tmp_path / "old.ckpt")
    checkpoint = read_checkpoint(tmp_path / "old.ckpt")
    torch.manual_seed(9)
    loaded = Backbone(checkpoint.spec, ["fusion"], Vocabulary(VOCABULARY, mask_id=MASK)).double().eval()
    load_weights(loaded, checkpoint)
    assert torch.equal(small_state(loaded).fused, small_state(backbone).fused)


def test_off_by_one_value() -> None:
    attention = random(MemoryAttention(8, 6, 8, 2, lambda: ZeroKey(8), 0.0))
    text, image = numbers(1, 4, 8), numbers(1, 5, 6)
    query, keys, values = (array(x[0]) for x in (attention.query(text), attention.key(image), attention.value(image)))
    read = []
    for c in (slice(0, 4), slice(4, 8)):
        raised = np.exp(query[:, c] @ keys[:, c].T / 2)
        read.append(raised / (1 + raised.sum(-1, keepdims=True)) @ values[:, c])
    expected = attention.out(torch.tensor(np.concatenate(read, -1)))
    assert torch.allclose(attention(text, image)[0], expected)
    assert not list(ZeroKey(8).parameters()) and attention.slots == 0


def test_image_value() -> None:
    memory = DistinctSlots(8, 2, 3)
    layer = random(RegionLayer(6, 8, 2, lambda: memory, 0.0))
    image = numbers(1, 5, 6)
    regions = layer.norm(image)
    stored = array(memory.memory_keys).reshape(3, 2, 4)
    keys = (stored / np.linalg.norm(stored, axis=-1, keepdims=True) * 2).reshape(3, 8)
    part = layer.attention
    keys = np.concatenate([array(part.key(regions)[0]), keys])
    values = np.concatenate([array(part.value(regions)[0]), math.sqrt(8) * array(memory.memory_values)])
    read = part.out(torch.tensor(by_heads(array(part.query(regions)[0]), keys, values, 2)))
    assert torch.allclose(layer(image)[0], image[0] + math.sqrt(6) * layer.gate.gate * read)
    of_image, of_memory = layer.added(image)
    bias = math.sqrt(6) * layer.gate.gate * part.out.bias
    assert torch.allclose(of_image + of_memory + bias, layer(image))


def test_latent_value() -> None:
    memory = random(LatentMemory(8, 6, 2, 3))
    image = numbers(1, 5, 6)
    queries = array(of_one_length(memory.memory_queries, 2))
    read = by_heads(queries, array(memory.key(image)[0]), array(memory.value(image)[0]), 2)
    held = memory.norm(torch.tensor(read))
    keys, values = memory(image)
    expected = (torch.tensor(queries) + memory.slot_key(held)).unflatten(-1, (2, 4))
    expected = 2 * expected / expected.norm(dim=-1, keepdim=True)
    assert torch.allclose(keys[0], expected.flatten(-2))
    assert torch.allclose(values[0], math.sqrt(8) * memory.gate.gate * memory.slot_value(held))
    assert torch.allclose(memory.reading(image).sum(-1), torch.ones(1, 3))


def test_value_keys_can_be_told_apart_at_the_start() -> None:
    """Attention of queries of unit variance: uniform over the reference's slots, chosen over those of one length."""
    torch.manual_seed(0)
    queries, image = torch.randn(1, 200, 128), torch.randn(1, 1, 128)
    found = {}
    for memory in (SlotMemory(128, 32, 8), DistinctSlots(128, 4, 8), LatentMemory(128, 128, 4, 8)):
        keys = memory(image)[0].unflatten(-1, (4, 32)).transpose(1, 2)
        weights = (queries.unflatten(-1, (4, 32)).transpose(1, 2) @ keys.transpose(-1, -2) / math.sqrt(32)).softmax(-1)
        found[type(memory)] = float(slot_entropy(weights).mean().detach())
    assert found[SlotMemory] > 0.985
    assert max(found[DistinctSlots], found[LatentMemory]) < 0.85
    lengths = DistinctSlots(128, 4, 8)(image)[0].unflatten(-1, (4, 32)).norm(dim=-1)
    assert torch.allclose(lengths, torch.full_like(lengths, math.sqrt(32)))
    keys = torch.nn.functional.normalize(DistinctSlots(128, 4, 8).memory_keys, dim=-1)
    assert torch.allclose(keys @ keys.T, torch.eye(8), atol=1e-5)


def test_value_image_and_its_gate_start_as_no_memory() -> None:
    torch.manual_seed(0)
    image = numbers(2, 5, 6)
    assert torch.equal(RegionLayer(6, 8, 2, lambda: DistinctSlots(8, 2, 3), 0.0).double()(image), image)
    assert torch.equal(Gate(6).double()(image), torch.zeros_like(image))
    values = LatentMemory(8, 6, 2, 3).double()(image)[1]
    assert torch.equal(values, torch.zeros_like(values))


@pytest.mark.parametrize("memory", SLOTS)
def test_value_slots_that_hold_the_image(memory: str) -> None:
    """Only those of ``latent`` differ by image."""
    layer = random(FusionLayer(FusionSpec("cross", 1, 2, memory, 3, dropout=0.0), 8, 6))  # type: ignore[arg-type]
    holder = layer.cross_attention.memory if layer.regions is None else layer.regions.attention.memory
    keys, values = holder(numbers(2, 5, 6))
    assert torch.equal(values[0], values[1]) == torch.equal(keys[0], keys[1]) == (memory != "latent")


@pytest.mark.parametrize("memory", SLOTS)
def test_shape_and_value_memory_use(memory: str) -> None:
    backbone = small_backbone("fusion", fusion={"memory": memory}).eval()
    for name, parameter in backbone.fusion.named_parameters():
        if name.endswith("gate"):
            parameter.data.fill_(0.3)
    state = small_state(backbone)
    read = (state.image_features, state.text_features, state.attention_mask)
    maps, uses = backbone.fusion.attention(*read), backbone.fusion.memory_use(*read)
    assert maps is not None and maps.shape == (4, 12, 4) and len(uses) == 1
    use = uses[0]
    assert use.words.shape == (4, 12, 8) and use.regions.shape == (4, 4, 8)
    real = state.attention_mask.bool()
    assert (use.of_memory[real] > 0).all() and use.of_memory.shape == use.of_image.shape == (4, 12)
    assert ((use.entropy[real] > 0.3) & (use.entropy[real] <= 1 + 1e-6)).all()
    assert (use.words[~real] == 0).all() and (use.words[real] > 0).all()
    on_patches_and_slots = maps.sum(-1) + (0 if memory == "image" else use.words.sum(-1))
    assert (on_patches_and_slots[real] < 1).all()  # the rest is on [CLS]


def test_value_what_text_memory_adds() -> None:
    memory = SlotMemory(8, 4, 3)
    layer = random(FusionLayer(FusionSpec("cross", 1, 2, "text", 3, dropout=0.0), 8, 6))
    layer.cross_attention.memory = memory.double()
    queries, image = numbers(1, 4, 8), numbers(1, 5, 6)
    padding = torch.zeros(1, 4, dtype=torch.bool)
    use = layer.memory_use(queries, padding, image, image)
    assert use is not None
    values, out = memory.memory_values.detach().clone(), layer.cross_attention.out
    with torch.no_grad():
        both = layer.cross_attention(queries, image) - out.bias
        memory.memory_values.zero_()
        alone = layer.cross_attention(queries, image) - out.bias  # the same weights, nothing from the slots
        memory.memory_values.copy_(values)
    assert torch.allclose(use.of_memory, (both - alone).norm(dim=-1).float(), rtol=1e-5)
    assert torch.allclose(use.of_image, alone.norm(dim=-1).float(), rtol=1e-5)


def test_value_slot_entropy() -> None:
    weights = torch.tensor([[0.2, 0.2, 0.0, 0.0], [0.1, 0.1, 0.1, 0.1], [0.3, 0.0, 0.0, 0.0]])[None, None]
    assert slot_entropy(weights)[0].tolist() == pytest.approx([0.5, 1.0, 0.0], abs=1e-6)


@pytest.mark.parametrize("memory", ["none", "off_by_one", "shared"])
def test_value_no_slots_no_use(memory: str) -> None:
    backbone = small_backbone("fusion", fusion={"memory": memory, "shared_slots": 40, "shared_width": 16}).eval()
    state = small_state(backbone)
    assert backbone.fusion.memory_use(state.image_features, state.text_features, state.attention_mask) == []


@pytest.mark.parametrize("memory", [*SLOTS, "off_by_one"])
def test_gradient_of_memory(memory: str) -> None:
    attention = random(FusionLayer(FusionSpec("cross", 1, 2, memory, 3, dropout=0.0), 8, 6))  # type: ignore[arg-type]
    text, image = numbers(2, 3, 8), numbers(2, 4, 6).requires_grad_()
    padding = torch.zeros(2, 3, dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda x: attention(text, padding, x)[0], [image], atol=1e-4)
    attention(text, padding, image)[0].square().sum().backward()
    named = {name: p for name, p in attention.named_parameters() if "memory" in name or "regions" in name}
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in named.values())
    assert bool(named) == (memory != "off_by_one")


def test_value_controls() -> None:
    """An ``image`` of no slots has the layer of ``image``, closed at the start; ``off_by_one`` changes the output."""
    parameters = {
        name for name, _ in small_backbone("fusion", fusion={"memory": "image", "slots": 0}).named_parameters()
    }
    assert any("regions.attention" in name for name in parameters) and not any("memory_" in name for name in parameters)
    assert not torch.allclose(fused("off_by_one"), fused("none"))
    assert small_spec(fusion={"memory": "latent", "slots": 0}).fusion.slots == 0
    assert torch.equal(fused("latent", slots=0), fused("none"))
