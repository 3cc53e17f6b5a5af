"""The classification head."""

from torch import nn

from mpma_lightning.protocols import LabelProtocol


def linear_head(width: int, classes: int, protocol: LabelProtocol) -> nn.Sequential:
    """(B, width) features to (B, classes) logits."""
    linear = nn.Linear(width, classes)
    if protocol.init == "truncated_normal":
        nn.init.trunc_normal_(linear.weight, std=protocol.init_std)
        nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.LayerNorm(width) if protocol.norm else nn.Identity(), linear)
