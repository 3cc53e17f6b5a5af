"""ResNets and DenseNets of torchvision below ``image.cnn.``, whose names timm shares."""

from torch import Tensor

from data_modules.errors import UserError
from mpma_lightning.backbones.importers.foreign import Foreign, Table
from mpma_lightning.backbones.spec import ImageSpec

PREFIX = "image.cnn."
RESNET: Table = [(r"((?:conv1|bn1|layer[1-4]\.\d+\.(?:conv\d|bn\d|downsample\.[01]))\.\w+)", r"\1")]
DENSENET: Table = [(r"(features\.(?:(?:conv0|norm[05])\.\w+|(?:denseblock|transition)\d\.\S+))", r"\1")]
_RESNETS: dict[tuple[object, ...], str] = {
    ("conv2", 2, 2, 2, 2): "resnet18",
    ("conv2", 3, 4, 6, 3): "resnet34",
    ("conv3", 3, 4, 6, 3): "resnet50",
    ("conv3", 3, 4, 23, 3): "resnet101",
    ("conv3", 3, 8, 36, 3): "resnet152",
}
_DENSENETS: dict[tuple[int, ...], str] = {
    (6, 12, 24, 16): "densenet121",
    (6, 12, 32, 32): "densenet169",
    (6, 12, 48, 32): "densenet201",
    (6, 12, 36, 24): "densenet161",
}


def resnet(foreign: Foreign, prefix: str = "") -> dict[str, Tensor]:
    """Take a ResNet, below ``prefix``, out of ``foreign``; its classifier is left out."""
    return foreign.take([(f"{prefix}{pattern}", new) for pattern, new in RESNET], PREFIX)


def densenet(foreign: Foreign, prefix: str = "") -> dict[str, Tensor]:
    """Take a DenseNet, below ``prefix``, out of ``foreign``; its classifier is left out."""
    return foreign.take([(f"{prefix}{pattern}", new) for pattern, new in DENSENET], PREFIX)


def resnet_spec(state: dict[str, Tensor], size: int = 224) -> ImageSpec:
    """The image encoder of a ResNet with the tensors ``state``.

    Raises:
        UserError: it is none of torchvision's.
    """
    last = "conv3" if f"{PREFIX}layer1.0.conv3.weight" in state else "conv2"
    blocks = tuple(_count(state, f"{PREFIX}layer{stage}.") for stage in range(1, 5))
    return _spec(_RESNETS.get((last, *blocks)), "ResNet", blocks, size)


def densenet_spec(state: dict[str, Tensor], size: int = 224) -> ImageSpec:
    """The image encoder of a DenseNet with the tensors ``state``.

    Raises:
        UserError: it is none of torchvision's.
    """
    blocks = tuple(_count(state, f"{PREFIX}features.denseblock{stage}.") for stage in range(1, 5))
    return _spec(_DENSENETS.get(blocks), "DenseNet", blocks, size)


def _count(state: dict[str, Tensor], prefix: str) -> int:
    return len({name.removeprefix(prefix).partition(".")[0] for name in state if name.startswith(prefix)})


def _spec(name: str | None, kind: str, blocks: tuple[int, ...], size: int) -> ImageSpec:
    if name is None:
        raise UserError(f"it holds a {kind} with stages of {blocks} layers; expected one of torchvision's")
    return ImageSpec(f"timm/{name}", size, {}, stem="linear", pool="mean")
