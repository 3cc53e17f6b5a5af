"""ResNets and DenseNets with torchvision's names, and those of TorchXRayVision, which read one channel."""

from mpma_lightning.backbones.importers.cnn_names import densenet, densenet_spec, resnet, resnet_spec
from mpma_lightning.backbones.importers.foreign import Family, Foreign, Imported
from mpma_lightning.backbones.spec import BackboneSpec

XRAY = (0.5, 1 / 2048)
"""TorchXRayVision's range of -1024 to 1024 as a mean and a standard deviation of pixels in [0, 1]."""
SCALED = "of one channel, so taken for TorchXRayVision's: pixels are scaled to -1024 … 1024"


def translate_resnet(foreign: Foreign) -> Imported:
    """An image encoder; the classifier is left out."""
    one_channel = foreign.tensors["conv1.weight"].shape[1] == 1
    state = resnet(foreign)
    spec = BackboneSpec(image=resnet_spec(state, 512 if one_channel else 224))
    return Imported(spec, state, XRAY if one_channel else None, notes=[SCALED] * one_channel)


def translate_densenet(foreign: Foreign) -> Imported:
    """An image encoder; the classifier is left out."""
    one_channel = foreign.tensors["features.conv0.weight"].shape[1] == 1
    state = densenet(foreign)
    spec = BackboneSpec(image=densenet_spec(state))
    return Imported(spec, state, XRAY if one_channel else None, notes=[SCALED] * one_channel)


RESNETS = Family(
    "ResNet of torchvision", (r"conv1\.weight", r"bn1\.running_mean", r"layer4\.0\.conv2\.weight"), translate_resnet
)
DENSENETS = Family(
    "DenseNet of torchvision",
    (r"features\.conv0\.weight", r"features\.denseblock1\.denselayer1\..*"),
    translate_densenet,
)
