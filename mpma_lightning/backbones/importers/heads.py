"""Projection heads of other code bases as two linear layers."""

import torch
from torch import Tensor

Linear = tuple[Tensor, Tensor]
"""Weight (out, in) and bias (out,)."""


def linear(tensors: dict[str, Tensor], name: str) -> Linear:
    """Take ``name.weight`` and ``name.bias`` out of ``tensors``, of a linear layer or of a convolution of one pixel; a
    bias that is absent is 0."""
    weight = tensors.pop(f"{name}.weight")
    weight = weight.reshape(weight.shape[:2])
    return weight, tensors.pop(f"{name}.bias", torch.zeros(len(weight), dtype=weight.dtype))


def with_batch_norm(layer: Linear, tensors: dict[str, Tensor], name: str, eps: float = 1e-5) -> Linear:
    """``layer`` and the batch norm ``name`` after it, as one layer that computes what both do in evaluation."""
    weight, bias = layer
    mean, variance = tensors.pop(f"{name}.running_mean"), tensors.pop(f"{name}.running_var")
    tensors.pop(f"{name}.num_batches_tracked", None)
    scale = tensors.pop(f"{name}.weight", torch.ones_like(mean)) / (variance + eps).sqrt()
    return weight * scale[:, None], (bias - mean) * scale + tensors.pop(f"{name}.bias", torch.zeros_like(mean))


def named(part: str, first: Linear, second: Linear | None = None, place: int = 2) -> dict[str, Tensor]:
    """The state of a :class:`mpma_lightning.backbones.alignment.ProjectionHead` called ``part``.

    Args:
        part: such as ``align_global.image``.
        first: its first linear layer.
        second: the layer at ``place``, if it has one.
        place: 2 after an activation, 3 after an activation and a norm.
    """
    state = {f"{part}.mlp.0.weight": first[0], f"{part}.mlp.0.bias": first[1]}
    if second is not None:
        state |= {f"{part}.mlp.{place}.weight": second[0], f"{part}.mlp.{place}.bias": second[1]}
    return state
