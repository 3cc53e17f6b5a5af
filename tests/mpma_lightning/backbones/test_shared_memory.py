"""The shared memory of fusion: values, initial scale, errors."""

import itertools
import math

import numpy as np
import pytest
import torch
from model_fixtures import small_backbone, small_state

from data_modules.errors import UserError
from mpma_lightning.backbones.shared_memory import SharedMemory

SHARED = {"memory": "shared", "shared_slots": 40, "shared_width": 16}


def test_shared_memory_value() -> None:
    torch.manual_seed(0)
    memory = SharedMemory(width=6, image_width=4, slots=35, memory_width=16).double()
    memory.memory_values.data *= 100
    image, text = torch.randn(1, 3, 4, dtype=torch.float64), torch.randn(1, 2, 6, dtype=torch.float64)
    for given, found, query, out in zip(
        (image, text),
        memory(image, text),
        (memory.image_query, memory.text_query),
        (memory.image_out, memory.text_out),
        strict=True,
    ):
        queries = query(given)[0].detach().numpy()
        keys, values = (layer(memory.memory_values).detach().numpy() for layer in (memory.key, memory.value))
        read = np.zeros_like(queries)
        for head, row in itertools.product(range(8), range(len(queries))):
            columns = slice(2 * head, 2 * head + 2)
            scores = keys[:, columns] @ queries[row, columns] / math.sqrt(2)
            best = np.argsort(-scores)[:32]
            weights = np.exp(scores[best]) / np.exp(scores[best]).sum()
            read[row, columns] = weights @ values[best, columns]
        np.testing.assert_allclose(found[0].detach().numpy(), (given[0] + out(torch.tensor(read))).detach().numpy())


def test_shared_memory_initial_scale_and_attention_maps() -> None:
    assert float(SharedMemory(8, 8, 2048, 512).memory_values.std().detach()) == pytest.approx(1 / 512, rel=0.02)
    backbone = small_backbone("fusion", fusion=SHARED).eval()
    state = small_state(backbone)
    read = (state.image_features, state.text_features, state.attention_mask)
    assert backbone.fusion.attention(*read).shape == (4, 12, 4) and backbone.fusion.memory_use(*read) == []


@pytest.mark.parametrize("changes", [{"shared_slots": 31}, {"shared_width": 20}])
def test_shared_memory_error(changes) -> None:
    with pytest.raises(UserError, match=r"expected at least 32 slots and a width divisible by 8, the number of heads"):
        small_backbone("fusion", fusion=SHARED | changes)
