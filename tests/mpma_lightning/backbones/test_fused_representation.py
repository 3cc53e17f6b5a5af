"""The pooled fused representation that downstream tasks read."""

import pytest
import torch
from model_fixtures import MASK, small_backbone

from data_modules.errors import UserError


@pytest.mark.parametrize("fusion", ["cross", "pooled"])
@pytest.mark.parametrize("pool", ["mask", "mean", "cls"])
def test_fused_representation_value(pool: str, fusion: str) -> None:
    backbone = small_backbone("fusion", fusion={"kind": fusion}).eval()
    image = backbone.image(torch.randn(2, 3, 32, 32, dtype=torch.float64))
    ids = torch.tensor([[2, 9, 8, 7, 3], [2, 11, 3, 0, 0]])
    mask = (ids > 0).long()
    found = backbone.fused_representation(image, ids, mask, pool)
    assert found.shape == (2, 24 + 32) and torch.equal(found[:, 24:], image.pooled)
    for row, text in enumerate(([2, 9, 8, 7], [2, 11])):
        text = torch.tensor([[*text, MASK, 3] if pool == "mask" else [*text, 3]])
        fused = backbone.fuse(image.rows(torch.tensor([row])), None, text, torch.ones_like(text))[0]
        expected = {"mask": fused[-2], "mean": fused.mean(0), "cls": fused[0]}[pool]
        assert torch.allclose(found[row, :24], expected)


def test_fused_representation_error() -> None:
    backbone = small_backbone("fusion")
    image = backbone.image(torch.randn(1, 3, 32, 32, dtype=torch.float64))
    with pytest.raises(UserError, match="expected mask, mean or cls"):
        backbone.fused_representation(image, torch.tensor([[2, 3]]), torch.ones(1, 2), "max")  # type: ignore[arg-type]
