"""Which boxes of a phrase count, by protocol."""

from typing import Any

import pytest
import torch

from data_modules.contract import DataSpec
from mpma_lightning.evaluation.grounding import POINTING_GAME, RANDOM_PATCH
from mpma_lightning.tasks.grounding import GUESSES, SCORES, GroundingTask


@pytest.mark.parametrize(
    ("protocol", "hit", "random_patch"), [("ground-pointing", 1.0, 0.5), ("ground-radzero", 0.0, 0.25)]
)
def test_value_only_radzero_counts_the_first_box_alone(
    monkeypatch: pytest.MonkeyPatch, protocol: str, hit: float, random_patch: float
) -> None:
    task, kept = GroundingTask(backbone="mpma_vit_t16", protocol=protocol), {}
    monkeypatch.setattr(GroundingTask, "data_spec", DataSpec("d", box_classes=["Edema"], fit="stretch"))
    monkeypatch.setattr(task, "_constant_patch", lambda grid, side: None)
    monkeypatch.setattr(task, "similarity", lambda batch: torch.tensor([[[0.0, 0.0], [0.0, 0.9]]]))
    monkeypatch.setattr(task, "keep", lambda batch, **columns: kept.update(columns))
    boxes = [torch.tensor([[0.0, 0.0, 4.0, 4.0], [4.0, 4.0, 8.0, 8.0]])]  # the second holds the most similar patch
    batch: dict[str, Any] = {"image": torch.zeros(1, 1, 8, 8), "boxes": boxes, "box_labels": [torch.tensor([0, 0])]}
    task.step(batch | {"text": ["edema"], "size": torch.tensor([[8, 8]])}, "test")
    values = dict(zip((*SCORES, *GUESSES), kept["values"][0].tolist(), strict=True))
    assert values[POINTING_GAME] == hit and values[RANDOM_PATCH] == random_patch
