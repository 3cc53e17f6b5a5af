"""What every encoder returns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Features:
    """Output of an image or text encoder.

    Attributes:
        pooled: (B, D) one vector a sample.
        tokens: (B, N, D) patch tokens (only the visible ones after token dropping) or word-piece tokens.
        prefix: (B, P, D) class and register tokens; P may be 0.
        grid: (H', W') patches of the whole image, ``None`` for text.
        visible: (B, K) patch ids that entered the encoder, ``None`` when all did.
        levels: feature maps (B, D, H', W') of the blocks asked for, in that order.
    """

    pooled: Tensor
    tokens: Tensor
    prefix: Tensor
    grid: tuple[int, int] | None = None
    visible: Tensor | None = None
    levels: list[Tensor] = field(default_factory=list)

    def rows(self, index: Tensor) -> "Features":
        """The samples ``index`` (M,), which may repeat; without levels."""
        visible = None if self.visible is None else self.visible[index]
        return Features(self.pooled[index], self.tokens[index], self.prefix[index], self.grid, visible)

    def map(self, change: Callable[[Tensor], Tensor]) -> "Features":
        """``change`` of pooled, tokens and prefix, such as another device or type; without levels."""
        return Features(change(self.pooled), change(self.tokens), change(self.prefix), self.grid, self.visible)

    @staticmethod
    def join(parts: "Sequence[Features]") -> "Features":
        """The samples of several batches of whole inputs; without levels."""
        pooled, tokens, prefix = (
            torch.cat([getattr(part, name) for part in parts]) for name in ("pooled", "tokens", "prefix")
        )
        return Features(pooled, tokens, prefix, parts[0].grid)
