"""The linear head of classification and regression."""

from typing import Literal

from torch import nn

Init = Literal["truncated_normal", "default"]


def linear_head(
    width: int, outputs: int, *, norm: bool = False, init: Init = "default", init_std: float = 0.02
) -> nn.Sequential:
    """(B, width) features to (B, outputs).

    Args:
        width: of the features.
        outputs: number of outputs.
        norm: LayerNorm before the linear layer.
        init: of the linear layer: truncated normal with zero bias, or torch's default.
        init_std: standard deviation of the truncated normal.
    """
    linear = nn.Linear(width, outputs)
    if init == "truncated_normal":
        nn.init.trunc_normal_(linear.weight, std=init_std)
        nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.LayerNorm(width) if norm else nn.Identity(), linear)
