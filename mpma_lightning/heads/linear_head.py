"""The linear head of classification and regression."""

from typing import Literal

from torch import Tensor, nn

Init = Literal["truncated_normal", "default"]


class Difference(nn.Module):
    """(B, 2 K) outputs to (B, K) logits: the second half less the first. Binary cross-entropy of it is cross-entropy
    of two outputs, one for the absence and one for the presence of each class."""

    def forward(self, outputs: Tensor) -> Tensor:
        """Logits of (B, 2 K) outputs."""
        absent, present = outputs.chunk(2, dim=-1)
        return present - absent


def linear_head(
    width: int,
    outputs: int,
    *,
    norm: bool = False,
    norm_eps: float = 1e-5,
    init: Init = "default",
    init_std: float = 0.02,
    zero_bias: bool = True,
    two_outputs: bool = False,
) -> nn.Sequential:
    """(B, width) features to (B, outputs).

    Args:
        width: of the features.
        outputs: number of outputs.
        norm: LayerNorm before the linear layer.
        norm_eps: its epsilon.
        init: of the linear layer: truncated normal, or torch's default.
        init_std: standard deviation of the truncated normal.
        zero_bias: zero bias beside the truncated normal; otherwise torch's default.
        two_outputs: every output is the :class:`Difference` of two of the linear layer.
    """
    linear = nn.Linear(width, 2 * outputs if two_outputs else outputs)
    if init == "truncated_normal":
        nn.init.trunc_normal_(linear.weight, std=init_std)
        if zero_bias:
            nn.init.zeros_(linear.bias)
    layers = [nn.LayerNorm(width, norm_eps) if norm else nn.Identity(), linear]
    return nn.Sequential(*layers, *([Difference()] if two_outputs else []))
