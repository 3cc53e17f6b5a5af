"""A timm convolutional network as an image encoder."""

from typing import Any

from torch import Tensor, nn

from data_modules.errors import UserError
from mpma_lightning.backbones.encoder import Levels
from mpma_lightning.backbones.features import Features

HEADS = ("head", "conv_head", "norm_head", "pre_logits", "in_conv", "pre_classifier")
"""Parts of timm's CNNs that only their classifiers read."""


def timm_levels(model: Any) -> Levels:
    """The feature maps that a timm model describes in ``feature_info``."""
    info = list(model.feature_info)
    widths, strides = (tuple(level[key] for level in info) for key in ("num_chs", "reduction"))
    return Levels(tuple(range(len(info))), widths, strides)


class CNNEncoder(nn.Module):
    """The cells of the last feature map are the tokens. An :class:`ImageEncoder` that cannot drop patches.

    Args:
        cnn: a timm CNN.
        has_maps: whether its feature maps align with the image.
        keep: one of ``HEADS`` that is part of this CNN's features; the others are removed, so that DDP has no unused
            parameters.
    """

    can_drop_patches = False
    honours = ("options", "weights")

    def __init__(self, cnn: Any, has_maps: bool = True, keep: str = "") -> None:
        super().__init__()
        for name in HEADS:
            if name != keep and hasattr(cnn, name):
                setattr(cnn, name, nn.Identity())
        self.cnn = cnn
        self.has_maps = has_maps
        self.width: int = cnn.num_features
        self.patch_size: int = cnn.feature_info[-1]["reduction"]

    @property
    def depths(self) -> dict[str, int]:
        """Empty: no layer-wise learning rates."""
        return {}

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
        return timm_levels(self.cnn)

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
        """Encode (B, 3, H, W); ``visible`` must be ``None``."""
        if visible is not None:
            raise ValueError("a convolutional image encoder cannot drop patches: call without visible")
        places = sorted({*levels, *([] if local is None else [local])})
        if places:
            last, maps = self.cnn.forward_intermediates(image, indices=places)
        else:
            last, maps = self.cnn.forward_features(image), []
        tokens = last.flatten(2).transpose(1, 2)
        grid = (last.shape[-2], last.shape[-1]) if self.has_maps else None
        found = dict(zip(places, maps, strict=True))
        features = Features(tokens.mean(1), tokens, tokens[:, :0], grid, None, [found[level] for level in levels])
        return features if local is None else features.with_local(found[local])
