"""What the image encoders with stages of coarser and coarser feature maps share: CNNs and Swin Transformers."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from mpma_lightning.backbones.encoder import Levels
from mpma_lightning.backbones.features import Features

Grid = tuple[int, int]


class StageEncoder(nn.Module, ABC):
    """The cells of the last feature map are the tokens. An :class:`ImageEncoder` that cannot drop patches.

    Args:
        network: a model of timm. A subclass keeps it under a name of its own, with which the names of its weights in a
            checkpoint begin.
    """

    can_drop_patches = False
    honours = ("options", "weights")
    has_maps = True

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.width: int = network.num_features
        self.patch_size: int = network.feature_info[-1]["reduction"]

    @property
    @abstractmethod
    def network(self) -> Any:
        """The model of timm."""

    @property
    def depths(self) -> dict[str, int]:
        """Empty: no layer-wise learning rates."""
        return {}

    @property
    def levels(self) -> Levels:
        """The output of every stage, from fine to coarse."""
        info = list(self.network.feature_info)
        widths, strides = (tuple(level[key] for level in info) for key in ("num_chs", "reduction"))
        return Levels(tuple(range(len(info))), widths, strides)

    @property
    def local_levels(self) -> Levels:
        """As ``levels``."""
        return self.levels

    def check(self, image: Tensor) -> None:
        """UserError for an image of a size that the network cannot encode; a CNN encodes any."""

    @abstractmethod
    def tokens(self, last: Tensor) -> tuple[Tensor, Grid | None]:
        """The last feature map as tokens (B, N, D), and their grid, ``None`` where it does not align with the image."""

    def forward(
        self,
        image: Tensor,
        visible: Tensor | None = None,
        levels: tuple[int, ...] = (),
        local: int | None = None,
    ) -> Features:
        """Encode (B, 3, H, W); ``visible`` must be ``None``."""
        if visible is not None:
            raise ValueError(f"{type(self).__name__} cannot drop patches: call without visible")
        self.check(image)
        places = sorted({*levels, *([] if local is None else [local])})
        if places:
            last, maps = self.network.forward_intermediates(image, indices=places)
        else:
            last, maps = self.network.forward_features(image), []
        tokens, grid = self.tokens(last)
        found = dict(zip(places, maps, strict=True))
        features = Features(tokens.mean(1), tokens, tokens[:, :0], grid, None, [found[level] for level in levels])
        return features if local is None else features.with_local(found[local])
