"""A Swin Transformer of timm as an image encoder."""

from typing import Any

from torch import Tensor, nn

from mpma_lightning.backbones.cnn import timm_levels
from mpma_lightning.backbones.encoder import Levels, grid_of
from mpma_lightning.backbones.features import Features


class SwinEncoder(nn.Module):
    """The cells of the last map are the tokens; windows need every patch, so none can be dropped.

    Args:
        swin: a model of timm whose maps are (B, H, W, C), created with ``strict_img_size=False``.
    """

    can_drop_patches = False
    honours = ("options", "weights")
    has_maps = True

    def __init__(self, swin: Any) -> None:
        super().__init__()
        self.swin = swin
        self.width: int = swin.num_features
        self.patch_size: int = swin.feature_info[-1]["reduction"]

    @property
    def depths(self) -> dict[str, int]:
        """Empty: no layer-wise learning rates."""
        return {}

    @property
    def levels(self) -> Levels:
        """The output of every stage, from fine to coarse."""
        return timm_levels(self.swin)

    @property
    def local_levels(self) -> Levels:
        """As ``levels``."""
        return self.levels

    def forward(
        self,
        image: Tensor,
        visible: Tensor | None = None,
        levels: tuple[int, ...] = (),
        local: int | None = None,
    ) -> Features:
        """Encode (B, 3, H, W), H and W multiples of the last stride; ``visible`` must be ``None``."""
        if visible is not None:
            raise ValueError("a Swin Transformer cannot drop patches: call without visible")
        grid = grid_of(image, self.patch_size)
        places = sorted({*levels, *([] if local is None else [local])})
        if places:
            last, maps = self.swin.forward_intermediates(image, indices=places)
        else:
            last, maps = self.swin.forward_features(image), []
        tokens = last.flatten(1, 2)
        found = dict(zip(places, maps, strict=True))
        features = Features(tokens.mean(1), tokens, tokens[:, :0], grid, None, [found[level] for level in levels])
        return features if local is None else features.with_local(found[local])
