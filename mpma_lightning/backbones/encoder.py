"""What every image encoder offers: whoever reads one asks this, and not which kind it is."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from mpma_lightning.backbones.features import Features


@dataclass(frozen=True)
class Levels:
    """Feature maps of an encoder.

    Attributes:
        indices: what to ask the encoder for.
        widths: channels of each map.
        strides: pixels a cell of each map.
    """

    indices: tuple[int, ...]
    widths: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def one_resolution(self) -> bool:
        """Whether all maps have as many cells, as the blocks of a ViT."""
        return len(set(self.strides)) == 1

    def at(self, places: "tuple[int, ...] | range") -> "Levels":
        """The levels at ``places``, which may repeat."""
        indices, widths, strides = (
            tuple(values[place] for place in places) for values in (self.indices, self.widths, self.strides)
        )
        return Levels(indices, widths, strides)


class ImageEncoder(Protocol):
    """Image encoder of a backbone."""

    width: int
    """D of the tokens."""
    patch_size: int
    """Pixels a side of what one token stands for."""
    can_drop_patches: bool
    """Whether ``visible`` may be given."""

    @property
    def levels(self) -> Levels:
        """Every feature map it can return, fine or early ones first."""
        ...

    @property
    def depths(self) -> dict[str, int]:
        """How many layers lie between a parameter and the features, by the beginning of its name; the longest match
        counts. Empty where layers have no order to speak of."""
        ...

    def __call__(self, image: Tensor, visible: Tensor | None = None, levels: tuple[int, ...] = ()) -> Features:
        """Encode.

        Args:
            image: (B, 3, H, W), normalised.
            visible: (B, K) ids of the patches to encode, ``None`` for all.
            levels: ``indices`` of the feature maps wanted, which may repeat. Needs the whole image.
        """
        ...
