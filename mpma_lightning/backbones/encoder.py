"""The interface of image encoders: code that uses one depends on this, never on the concrete class."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from data_modules.errors import expect
from mpma_lightning.backbones.features import Features


@dataclass(frozen=True)
class Levels:
    """Feature maps of an encoder.

    Attributes:
        indices: numbers by which the encoder is asked for them.
        widths: channels of each map.
        strides: side in pixels of a cell of each map.
    """

    indices: tuple[int, ...]
    widths: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def one_resolution(self) -> bool:
        """Whether all maps have the same size, as those of a ViT have."""
        return len(set(self.strides)) == 1

    def at(self, places: "tuple[int, ...] | range") -> "Levels":
        """The levels at positions ``places``, which may repeat."""
        return Levels(*(tuple(of[place] for place in places) for of in (self.indices, self.widths, self.strides)))


class ImageEncoder(Protocol):
    """Image encoder of a backbone: image to :class:`Features`."""

    width: int
    """Width D of the tokens."""
    patch_size: int
    """Side in pixels of the patch that a token represents."""
    can_drop_patches: bool
    """Whether ``visible`` may be given."""
    honours: tuple[str, ...]
    """The fields of :class:`ImageSpec` that it uses, of ``options``, ``weights``, ``stem`` and ``pool``; another value
    than the preset's of any other is refused. ``size``, the side of the crop, every encoder must accept or refuse."""
    has_maps: bool
    """Whether tokens and feature maps align with the image; otherwise only the pooled feature can be used."""

    @property
    def levels(self) -> Levels:
        """All feature maps it can return, fine or early ones first."""
        ...

    @property
    def local_levels(self) -> Levels:
        """The outputs that may be requested as ``local``, early ones first; the last one is the tokens."""
        ...

    @property
    def depths(self) -> dict[str, int]:
        """Number of layers between a parameter and the output, by prefix of the parameter's name; the longest matching
        prefix counts. Empty for an encoder without layer-wise learning rates."""
        ...

    def __call__(
        self,
        image: Tensor,
        visible: Tensor | None = None,
        levels: tuple[int, ...] = (),
        local: int | None = None,
    ) -> Features:
        """Encode.

        Args:
            image: (B, 3, H, W), normalised.
            visible: (B, K) ids of the patches to encode, ``None`` for all.
            levels: ``indices`` of the feature maps to return, which may repeat; not together with ``visible``.
            local: one of the indices of ``local_levels``, to be returned as :attr:`Features.local`, also together with
                ``visible``. Only given if ``model.backbone.align.local_level`` is not the last.
        """
        ...


def grid_of(image: Tensor, cell: int) -> tuple[int, int]:
    """Cells (H', W') of ``cell`` pixels a side in an image (B, C, H, W).

    Raises:
        UserError: the image is not a whole number of cells.
    """
    height, width = image.shape[-2:]
    expect(height % cell == width % cell == 0, "the image side that reaches the encoder", width,
           f"a multiple of its patch, {cell}; correct data.image_size")  # fmt: skip
    return height // cell, width // cell
