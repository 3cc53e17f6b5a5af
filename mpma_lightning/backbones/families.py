"""Families of timm models that can be image encoders, by the name of timm's module."""

import timm

VIT = "vision_transformer"
"""Plain ViTs."""
CONVOLUTIONAL = (
    *("byobnet", "convmixer", "convnext", "cpubone", "cspnet", "cspnext", "davit", "densenet", "dla", "dpn"),
    *("edgenext", "efficientformer_v2", "efficientnet", "efficientvit_mit", "fastvit", "focalnet", "gcvit"),
    *("ghostnet", "hardcorenas", "hgnet", "hrnet", "iformer", "inception_next", "lcnetv2", "lowformer"),
    *("maxxvit", "metaformer", "mobilenetv3", "mobilevit", "nasnet", "nextvit", "nfnet", "pnasnet", "rdnet"),
    *("regnet", "repghost", "repvit", "res2net", "resnest", "resnet", "resnetv2", "rexnet", "senet", "sknet"),
    *("starnet", "swiftformer", "tresnet", "vgg", "visformer", "vovnet", "xception", "xception_aligned"),
)
"""Models whose feature maps (B, C, H, W) have whole strides and align with the image."""
POOLED_ONLY = ("inception_v3", "inception_v4", "inception_resnet_v2", "selecsls")
"""CNNs whose feature maps do not align with the image: only the pooled feature can be used.

Families in none of the three are not supported: windows, rotary positions or tokens in another order, as in Swin, EVA
or mixers.
"""


def is_supported(name: str) -> bool:
    """Whether the timm model ``name``, without its tag of weights, can be an image encoder; builds nothing."""
    return timm.models.is_model_in_modules(name, (VIT, *CONVOLUTIONAL, *POOLED_ONLY))


def supported_names() -> list[str]:
    """Every timm model that can be an image encoder."""
    return [name for name in timm.list_models() if is_supported(name)]
