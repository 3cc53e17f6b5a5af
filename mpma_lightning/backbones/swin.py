"""A Swin Transformer of timm as an image encoder."""

from typing import Any

from torch import Tensor

from mpma_lightning.backbones.encoder import grid_of
from mpma_lightning.backbones.stages import Grid, StageEncoder


class SwinEncoder(StageEncoder):
    """Windows need every patch, so none can be dropped; the sides of an image must be multiples of the last stride.

    Args:
        swin: a model of timm whose maps are (B, H, W, C), created with ``strict_img_size=False``.
    """

    def __init__(self, swin: Any) -> None:
        super().__init__(swin)
        self.swin = swin

    @property
    def network(self) -> Any:
        return self.swin

    def check(self, image: Tensor) -> None:
        grid_of(image, self.patch_size)

    def tokens(self, last: Tensor) -> tuple[Tensor, Grid | None]:
        return last.flatten(1, 2), (last.shape[1], last.shape[2])
