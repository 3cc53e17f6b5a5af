"""Which of timm's model families can be image encoders."""

import timm

VIT = "vision_transformer"
"""timm's module of plain ViTs."""
CONVOLUTIONAL = (
    *("byobnet", "convmixer", "convnext", "cpubone", "cspnet", "cspnext", "davit", "densenet", "dla", "dpn"),
    *("edgenext", "efficientformer_v2", "efficientnet", "efficientvit_mit", "fastvit", "focalnet", "gcvit"),
    *("ghostnet", "hardcorenas", "hgnet", "hrnet", "iformer", "inception_next", "lcnetv2", "lowformer"),
    *("maxxvit", "metaformer", "mobilenetv3", "mobilevit", "nasnet", "nextvit", "nfnet", "pnasnet", "rdnet"),
    *("regnet", "repghost", "repvit", "res2net", "resnest", "resnet", "resnetv2", "rexnet", "senet", "sknet"),
    *("starnet", "swiftformer", "tresnet", "vgg", "visformer", "vovnet", "xception", "xception_aligned"),
)
"""timm's modules whose models return feature maps (B, C, H, W) of whole strides. The others have windows, rotary
positions, tokens in another order or maps that do not lie on the image: ViT variants, Swin, mixers and the like."""


def supported(name: str) -> bool:
    """Whether the timm model ``name`` (without a tag of weights) can be an image encoder; nothing is built."""
    return timm.models.is_model_in_modules(name, (VIT, *CONVOLUTIONAL))


def supported_names() -> list[str]:
    """Every timm model that can be an image encoder."""
    return [name for name in timm.list_models() if supported(name)]
