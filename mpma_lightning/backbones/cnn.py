"""A timm convolutional network as an image encoder."""

from typing import Any

from torch import Tensor, nn

from data_modules.errors import UserError
from mpma_lightning.backbones.encoder import Levels
from mpma_lightning.backbones.stages import Grid, StageEncoder

HEADS = ("head", "conv_head", "norm_head", "pre_logits", "in_conv", "pre_classifier")
"""Parts of timm's CNNs that only their classifiers read."""


class CNNEncoder(StageEncoder):
    """A CNN of timm without its classifier.

    Args:
        cnn: a timm CNN.
        has_maps: whether its feature maps align with the image.
        keep: one of ``HEADS`` that is part of this CNN's features; the others are removed, so that DDP has no unused
            parameters.
    """

    def __init__(self, cnn: Any, has_maps: bool = True, keep: str = "") -> None:
        super().__init__(cnn)
        for name in HEADS:
            if name != keep and hasattr(cnn, name):
                setattr(cnn, name, nn.Identity())
        self.cnn = cnn
        self.has_maps = has_maps

    @property
    def network(self) -> Any:
        return self.cnn

    @property
    def levels(self) -> Levels:
        """timm's feature maps, from fine to coarse.

        Raises:
            UserError: the maps do not align with the image.
        """
        if not self.has_maps:
            raise UserError(
                f"the feature maps of timm's {type(self.cnn).__name__} do not align with the image, so only its pooled "
                "feature can be used; choose another model.backbone.image.encoder for this task"
            )
        return super().levels

    def tokens(self, last: Tensor) -> tuple[Tensor, Grid | None]:
        grid = (last.shape[-2], last.shape[-1]) if self.has_maps else None
        return last.flatten(2).transpose(1, 2), grid
