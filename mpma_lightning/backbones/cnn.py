"""A timm convolutional network as an image encoder."""

from typing import Any

from torch import Tensor, nn

from mpma_lightning.backbones.encoder import Levels
from mpma_lightning.backbones.features import Features


class CNNEncoder(nn.Module):
    """Its last feature map is read as tokens. Cannot drop patches. An :class:`ImageEncoder`."""

    can_drop_patches = False

    def __init__(self, cnn: Any) -> None:
        super().__init__()
        self.cnn = cnn
        self.width: int = cnn.num_features
        self.patch_size: int = cnn.feature_info[-1]["reduction"]

    @property
    def depths(self) -> dict[str, int]:
        """None."""
        return {}

    @property
    def levels(self) -> Levels:
        """timm's feature maps, fine to coarse."""
        info = list(self.cnn.feature_info)
        widths, strides = (tuple(level[key] for level in info) for key in ("num_chs", "reduction"))
        return Levels(tuple(range(len(info))), widths, strides)

    def forward(self, image: Tensor, visible: Tensor | None = None, levels: tuple[int, ...] = ()) -> Features:
        """Encode (B, 3, H, W); ``visible`` must be ``None``."""
        if visible is not None:
            raise ValueError("a convolutional image encoder cannot drop patches: call without visible")
        maps: list[Tensor] = []
        if levels:
            last, maps = self.cnn.forward_intermediates(image, indices=list(levels))
        else:
            last = self.cnn.forward_features(image)
        tokens = last.flatten(2).transpose(1, 2)
        prefix = tokens[:, :0]
        return Features(tokens.mean(1), tokens, prefix, (last.shape[-2], last.shape[-1]), None, maps)
