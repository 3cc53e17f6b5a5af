"""The classification head, and the switches that a protocol id decides."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from mpma_lightning.errors import UserError
from mpma_lightning.suggestions import suggest

TRUNCATED_STD = 0.02


@dataclass(frozen=True)
class Protocol:
    """What a protocol id fixes beside data, optimiser and steps, which its experiments write out.

    Attributes:
        norm: LayerNorm before the linear layer.
        init: of the linear layer: truncated normal of deviation 0.02 with zero bias, or torch's default.
        encoder_lr: learning rate of the backbone, as a share of the head's.
        drop_path: stochastic depth of the image encoder.
    """

    norm: bool = True
    init: Literal["truncated_normal", "default"] = "truncated_normal"
    encoder_lr: float = 1.0
    drop_path: float = 0.0


PROTOCOLS = {
    "cls-finetune-benchx": Protocol(encoder_lr=0.1),
    "cls-finetune-mrm": Protocol(drop_path=0.1),
    "cls-multimodal": Protocol(encoder_lr=0.1),  # as cls-finetune-benchx, for any input
    "cls-linear-mgca": Protocol(norm=False, init="default"),
    "cls-linear": Protocol(norm=False),  # ours: truncated-normal start; optimiser, standardising and steps are free
}


def protocol_named(name: str) -> Protocol:
    """The switches of a protocol id; UserError with the nearest one otherwise."""
    if name not in PROTOCOLS:
        raise UserError(f"model.protocol {name!r} is unknown{suggest(name, PROTOCOLS)}")
    return PROTOCOLS[name]


def linear_head(width: int, classes: int, protocol: Protocol) -> nn.Sequential:
    """(B, width) features to (B, classes) logits."""
    linear = nn.Linear(width, classes)
    if protocol.init == "truncated_normal":
        nn.init.trunc_normal_(linear.weight, std=TRUNCATED_STD)
        nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.LayerNorm(width) if protocol.norm else nn.Identity(), linear)
