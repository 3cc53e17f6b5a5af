"""Plain ViTs: the names of timm below ``image.vit.``, and what tensor shapes say about a ViT."""

import math

import torch
from torch import Tensor

from mpma_lightning.backbones.importers.foreign import Foreign, Table, depth_of
from mpma_lightning.backbones.spec import ImageSpec, Option

PREFIX = "image.vit."
TIMM: Table = [
    (
        r"(cls_token|pos_embed|reg_token"
        r"|(?:patch_embed\.proj|norm|norm_pre|attn_pool\.\S+|"
        r"blocks\.\d+\.(?:norm[12]|attn\.(?:qkv|proj|q_norm|k_norm)|mlp\.fc[12]))\.(?:weight|bias)"
        r"|attn_pool\.latent|blocks\.\d+\.ls[12]\.gamma)",
        r"\1",
    ),
    (r"register_tokens", "reg_token"),  # of DINOv2's own files
]
_HEADS = {1280: 16, 1152: 16, 1408: 16, 1664: 16}
"""Attention heads by width, where they are not of 64 channels: ViT-H, SO400M, g and G."""
GATED = "vit_giant_patch14_dinov2"
"""The model of timm with gated layers, as DINOv2 has them."""
BASE = {"embed_dim": 768, "depth": 12, "patch_size": 16, "num_heads": 12}


def vit_heads(width: int) -> int:
    """Attention heads that published ViTs of this width have; shapes of tensors do not tell."""
    return _HEADS.get(width, max(1, width // 64))


def fuse_qkv(state: dict[str, Tensor]) -> None:
    """Replace ``attn.q``, ``attn.k`` and ``attn.v`` of every block by ``attn.qkv``, in place; absent biases are 0."""
    for name in [name for name in state if name.endswith("attn.q.weight")]:
        stem = name.removesuffix("q.weight")
        weights = [state.pop(f"{stem}{letter}.weight") for letter in "qkv"]
        biases = [state.pop(f"{stem}{letter}.bias", None) for letter in "qkv"]
        state[f"{stem}qkv.weight"] = torch.cat(weights)
        if any(bias is not None for bias in biases):
            filled = [w.new_zeros(len(w)) if b is None else b for w, b in zip(weights, biases, strict=True)]
            state[f"{stem}qkv.bias"] = torch.cat(filled)


def fold_class_position(state: dict[str, Tensor]) -> None:
    """Add the class token's position to the token, in place, as timm does for ViTs with registers."""
    position = state[f"{PREFIX}pos_embed"]
    state[f"{PREFIX}cls_token"] = state[f"{PREFIX}cls_token"] + position[:, :1]
    state[f"{PREFIX}pos_embed"] = position[:, 1:]


def vit_spec(
    state: dict[str, Tensor],
    pool: str = "cls",
    heads: int | None = None,
    base: str = "vit_base_patch16_224",
    size: int | None = None,
    norm_eps: float | None = None,
) -> ImageSpec:
    """The image encoder with the tensors ``state``, whose names begin with ``image.vit.``.

    Args:
        state: timm's names.
        pool: the global feature of the original.
        heads: attention heads, where the file says.
        base: the model of timm that differs from it in options only; ``GATED``, or of width 768, depth 12, patch 16.
        size: side of the input; default: that of the positions.
        norm_eps: of the layer norms, where it is not timm's.
    """
    names = [name.removeprefix(PREFIX) for name in state]
    width, _, patch = state[f"{PREFIX}patch_embed.proj.weight"].shape[:3]
    position = state[f"{PREFIX}pos_embed"]
    options: dict[str, Option] = {
        "embed_dim": width,
        "depth": depth_of(names, r"blocks\.(\d+)\."),
        "patch_size": patch,
        "num_heads": heads or vit_heads(width),
    }
    gated = base == GATED
    options = {name: value for name, value in options.items() if gated or value != BASE[name]}
    hidden = state[f"{PREFIX}blocks.0.mlp.fc1.weight"].shape[0]
    if gated or hidden != 4 * width:
        options["mlp_ratio"] = hidden / width
    if f"{PREFIX}blocks.0.ls1.gamma" in state:
        options["init_values"] = 1e-5
    if f"{PREFIX}reg_token" in state:
        options["reg_tokens"] = state[f"{PREFIX}reg_token"].shape[1]
    if f"{PREFIX}blocks.0.attn.qkv.bias" not in state:
        options["qkv_bias"] = False
    if norm_eps is not None:
        options["norm_eps"] = norm_eps
    has_class = f"{PREFIX}cls_token" in state
    if has_class and math.isqrt(position.shape[1]) ** 2 == position.shape[1]:
        options["no_embed_class"] = True
    patches = position.shape[1] - (has_class and "no_embed_class" not in options)
    side = math.isqrt(patches) * patch
    return ImageSpec(f"timm/{base}", size or side, options, stem="linear", pool=pool)  # type: ignore[arg-type]


def timm_vit(foreign: Foreign, prefix: str = "") -> dict[str, Tensor]:
    """Take a ViT with timm's names, below ``prefix``, out of ``foreign``."""
    state = foreign.take([(f"{prefix}{pattern}", new) for pattern, new in TIMM], PREFIX)
    if f"{PREFIX}reg_token" in state and state[f"{PREFIX}pos_embed"].shape[1] != 1:
        count = state[f"{PREFIX}pos_embed"].shape[1]
        if math.isqrt(count - 1) ** 2 == count - 1:
            fold_class_position(state)
    return state
