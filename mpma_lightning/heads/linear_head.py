"""The classification head, and the switches that a protocol id decides."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from data_modules.errors import UserError, suggest


@dataclass(frozen=True)
class Protocol:
    """What a protocol id fixes beside data, optimiser and steps, which its experiments write out.

    Attributes:
        norm: LayerNorm before the linear layer.
        init: of the linear layer: truncated normal with zero bias, or torch's default.
        init_std: deviation of the truncated normal.
        encoder_lr: learning rate of the backbone, as a share of the head's.
        drop_path: stochastic depth of the image encoder.
        frozen: only the head is trained (``LinearProbeTask``), or everything (``ClassificationTask``).
        inputs: what the head may read.
        own_probe: a linear probe is trained as ``model.probe`` says; else by its defaults, which are MGCA's.
    """

    norm: bool = True
    init: Literal["truncated_normal", "default"] = "truncated_normal"
    init_std: float = 0.02
    encoder_lr: float = 1.0
    drop_path: float = 0.0
    frozen: bool = False
    inputs: tuple[str, ...] = ("image",)
    own_probe: bool = False


PROTOCOLS = {
    "cls-finetune-benchx": Protocol(encoder_lr=0.1),
    "cls-finetune-mrm": Protocol(init_std=2e-5, drop_path=0.1),  # both of MRM's train.py
    "cls-multimodal": Protocol(encoder_lr=0.1, inputs=("image", "text", "both")),  # else as cls-finetune-benchx
    "cls-linear-mgca": Protocol(norm=False, init="default", frozen=True),
    "cls-linear": Protocol(norm=False, frozen=True, own_probe=True),  # ours: truncated-normal start
}


def protocol_for(name: str, frozen: bool, reads: str) -> Protocol:
    """The switches of a protocol id, for a task that keeps to it.

    Args:
        name: ``model.protocol``.
        frozen: whether the task trains nothing but the head.
        reads: ``model.input``.

    Raises:
        UserError: an unknown id, with the nearest one; an id under which something else is trained or read.
    """
    if name not in PROTOCOLS:
        raise UserError(f"model.protocol {name!r} is unknown{suggest(name, PROTOCOLS)}")
    protocol = PROTOCOLS[name]
    if protocol.frozen != frozen or reads not in protocol.inputs:
        fitting = [other for other, its in PROTOCOLS.items() if its.frozen == frozen and reads in its.inputs]
        trains = {True: "the head alone (LinearProbeTask)", False: "everything (ClassificationTask)"}
        raise UserError(
            f"model.protocol is {name}: trains {trains[protocol.frozen]}, reads {' or '.join(protocol.inputs)}; this "
            f"task trains {trains[frozen]} and reads {reads}: take {' or '.join(fitting)}, or the other task"
        )
    return protocol


def linear_head(width: int, classes: int, protocol: Protocol) -> nn.Sequential:
    """(B, width) features to (B, classes) logits."""
    linear = nn.Linear(width, classes)
    if protocol.init == "truncated_normal":
        nn.init.trunc_normal_(linear.weight, std=protocol.init_std)
        nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.LayerNorm(width) if protocol.norm else nn.Identity(), linear)
