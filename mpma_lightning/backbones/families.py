"""Families of timm models that can be image encoders: the module of timm decides how a model is created and wrapped."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import timm
from torch import nn

from mpma_lightning.backbones.cnn import CNNEncoder
from mpma_lightning.backbones.swin import SwinEncoder
from mpma_lightning.backbones.vit import ViTEncoder
from mpma_lightning.backbones.whole_vit import WholeViTEncoder


@dataclass(frozen=True)
class Family:
    """How models of a family become encoders.

    Attributes:
        encoder: the class; it takes the timm model, and the global feature where ``pooled``.
        pooled: whether the encoder takes ``pool``.
        sized: whether timm needs the side of the input, ``img_size``.
        arguments: further arguments with which timm creates the model.
    """

    encoder: Callable[..., nn.Module]
    pooled: bool = False
    sized: bool = False
    arguments: dict[str, Any] = field(default_factory=dict)


VIT = Family(ViTEncoder, pooled=True, sized=True, arguments={"dynamic_img_size": True})
"""Plain ViTs."""
ROTARY = Family(WholeViTEncoder, pooled=True, sized=True, arguments={"dynamic_img_size": True})
RELATIVE = Family(WholeViTEncoder, pooled=True, sized=True)
SWIN = Family(SwinEncoder, sized=True, arguments={"strict_img_size": False})
CONVOLUTIONAL = (
    *("byobnet", "convmixer", "convnext", "cpubone", "cspnet", "cspnext", "davit", "densenet", "dla", "dpn"),
    *("edgenext", "efficientformer_v2", "efficientnet", "efficientvit_mit", "fastvit", "focalnet", "gcvit"),
    *("ghostnet", "hardcorenas", "hgnet", "hrnet", "iformer", "inception_next", "lcnetv2", "lowformer"),
    *("maxxvit", "metaformer", "mobilenetv3", "mobilevit", "nasnet", "nextvit", "nfnet", "pnasnet", "pvt_v2", "rdnet"),
    *("regnet", "repghost", "repvit", "res2net", "resnest", "resnet", "resnetv2", "rexnet", "senet", "sknet"),
    *("starnet", "swiftformer", "tresnet", "vgg", "visformer", "vovnet", "xception", "xception_aligned"),
)
"""Models whose feature maps (B, C, H, W) have whole strides and align with the image."""
POOLED_ONLY = ("inception_v3", "inception_v4", "inception_resnet_v2", "selecsls")
"""CNNs whose feature maps do not align with the image: only the pooled feature can be used."""
FAMILIES = {
    **dict.fromkeys(("vision_transformer", "deit"), VIT),
    "eva": ROTARY,
    "beit": RELATIVE,
    **dict.fromkeys(("swin_transformer", "swin_transformer_v2"), SWIN),
    **dict.fromkeys(CONVOLUTIONAL, Family(CNNEncoder)),
    "efficientnet": Family(partial(CNNEncoder, keep="conv_head")),
    **dict.fromkeys(POOLED_ONLY, Family(partial(CNNEncoder, has_maps=False, keep="head"))),
}
"""By module of timm. Others are not supported, such as mixers, Hiera, MViT, XCiT, Swin v2 CR, hybrid and NaFlex ViTs:
their tokens are in another order or at another place."""


def family_of(name: str) -> Family | None:
    """The family of the timm model ``name``, without its tag of weights; ``None`` if it cannot be an encoder."""
    return next(
        (family for module, family in FAMILIES.items() if timm.models.is_model_in_modules(name, [module])), None
    )


def is_plain_vit(encoder: str | None) -> bool:
    """Whether ``encoder`` of an image spec, such as ``timm/vit_base_patch16_224``, is a plain ViT."""
    where, _, name = (encoder or "").partition("/")
    return where == "timm" and family_of(name.partition(".")[0]) is VIT


def is_supported(name: str) -> bool:
    """Whether the timm model ``name``, without its tag of weights, can be an image encoder; builds nothing."""
    return timm.models.is_model_in_modules(name, FAMILIES)


def supported_names() -> list[str]:
    """Every timm model that can be an image encoder."""
    return [name for name in timm.list_models() if is_supported(name)]
