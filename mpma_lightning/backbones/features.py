"""The output of image and text encoders."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass
class Features:
    """Output of an image or text encoder.

    Attributes:
        pooled: (B, D) global feature.
        tokens: (B, N, D) patch tokens (after token dropping only the visible ones) or word-piece tokens.
        prefix: (B, P, D) class and register tokens; P may be 0.
        grid: (H', W') patches of the whole image; ``None`` for text and for tokens that do not align with the image.
        visible: (B, K) patch ids that entered the encoder, ``None`` when all did.
        levels: the requested feature maps (B, D, H', W'), in the order of the request.
        local: (B, K', D') tokens of the level that was requested as ``local``; ``None``: without such a request.
        local_grid: (H', W') of the whole image at that level.
    """

    pooled: Tensor
    tokens: Tensor
    prefix: Tensor
    grid: tuple[int, int] | None = None
    visible: Tensor | None = None
    levels: list[Tensor] = field(default_factory=list)
    local: Tensor | None = None
    local_grid: tuple[int, int] | None = None

    @property
    def outputs(self) -> list[Tensor]:
        """The tensors through which a loss reaches the encoder."""
        return [self.tokens, self.prefix, *([] if self.local is None else [self.local])]

    def with_local(self, map: Tensor) -> "Features":
        """These features with the cells of a feature map (B, D', H', W') as ``local``."""
        return replace(self, local=map.flatten(2).transpose(1, 2), local_grid=(map.shape[-2], map.shape[-1]))

    def rows(self, index: Tensor) -> "Features":
        """The samples at ``index`` (M,), which may repeat; without levels and ``local``."""
        visible = None if self.visible is None else self.visible[index]
        return Features(self.pooled[index], self.tokens[index], self.prefix[index], self.grid, visible)

    def map(self, change: Callable[[Tensor], Tensor]) -> "Features":
        """``change`` applied to pooled, tokens and prefix, such as a move to another device; without levels and
        ``local``."""
        return Features(change(self.pooled), change(self.tokens), change(self.prefix), self.grid, self.visible)

    @staticmethod
    def join(batches: "Sequence[Features]") -> "Features":
        """The samples of several batches, none with token dropping; without levels and ``local``."""
        pooled, tokens, prefix = map(torch.cat, zip(*((b.pooled, b.tokens, b.prefix) for b in batches), strict=True))
        return Features(pooled, tokens, prefix, batches[0].grid)
