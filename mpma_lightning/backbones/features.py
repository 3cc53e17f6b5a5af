"""The output of image and text encoders."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass
class Views:
    """Further views of B samples, up to V each, which the image encoder has encoded one by one.

    Attributes:
        first: (B, D) pooled feature of the first view alone.
        pooled: (B, V, D), zeros where a sample lacks the view.
        tokens: (B, V, T, D) prefix and patch tokens, zeros where a sample lacks the view.
        kinds: (B, V) int64: 0 no view, otherwise the kind, see ``view_kinds`` of ``Batch``.
    """

    first: Tensor
    pooled: Tensor
    tokens: Tensor
    kinds: Tensor

    @property
    def flat(self) -> Tensor:
        """(B, V T, D) the tokens in one row."""
        return self.tokens.flatten(1, 2)

    @property
    def flat_kinds(self) -> Tensor:
        """(B, V T) the kind of each token of :attr:`flat`; 0: padding."""
        return self.kinds.repeat_interleave(self.tokens.shape[2], dim=1)

    def mean(self, first: Tensor, others: Tensor) -> Tensor:
        """(B, D) mean over the views that a sample has, of its first (B, D) and the others (B, V, D)."""
        there = (self.kinds > 0).unsqueeze(-1).to(others.dtype)
        return (first + (others * there).sum(1)) / (1 + there.sum(1))

    def rows(self, index: Tensor) -> "Views":
        """The samples at ``index`` (M,), which may repeat."""
        return Views(self.first[index], self.pooled[index], self.tokens[index], self.kinds[index])

    def map(self, change: Callable[[Tensor], Tensor]) -> "Views":
        """``change`` applied to features; kinds follow to their device."""
        first = change(self.first)
        return Views(first, change(self.pooled), change(self.tokens), self.kinds.to(first.device))


@dataclass
class Features:
    """Output of an image or text encoder.

    Attributes:
        pooled: (B, D) global feature; of several views their mean.
        tokens: (B, N, D) patch tokens (after token dropping only the visible ones) or word-piece tokens.
        prefix: (B, P, D) class and register tokens; P may be 0.
        grid: (H', W') patches of the whole image; ``None`` for text and for tokens that do not align with the image.
        visible: (B, K) patch ids that entered the encoder, ``None`` when all did.
        levels: the requested feature maps (B, D, H', W'), in the order of the request.
        local: (B, K', D') tokens of the level that was requested as ``local``; ``None``: without such a request.
        local_grid: (H', W') of the whole image at that level.
        views: the further views of the samples; all other attributes but ``pooled`` are of the first view alone.
    """

    pooled: Tensor
    tokens: Tensor
    prefix: Tensor
    grid: tuple[int, int] | None = None
    visible: Tensor | None = None
    levels: list[Tensor] = field(default_factory=list)
    local: Tensor | None = None
    local_grid: tuple[int, int] | None = None
    views: Views | None = None

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
        views = None if self.views is None else self.views.rows(index)
        return Features(self.pooled[index], self.tokens[index], self.prefix[index], self.grid, visible, views=views)

    def map(self, change: Callable[[Tensor], Tensor]) -> "Features":
        """``change`` applied to pooled, tokens and prefix, such as a move to another device; without levels and
        ``local``."""
        pooled, tokens, prefix = change(self.pooled), change(self.tokens), change(self.prefix)
        views = None if self.views is None else self.views.map(change)
        return Features(pooled, tokens, prefix, self.grid, self.visible, views=views)

    @staticmethod
    def join(batches: "Sequence[Features]") -> "Features":
        """The samples of several batches, none with token dropping; without levels and ``local``."""
        pooled, tokens, prefix = map(torch.cat, zip(*((b.pooled, b.tokens, b.prefix) for b in batches), strict=True))
        further = [b.views for b in batches if b.views is not None]
        parts = zip(*((v.first, v.pooled, v.tokens, v.kinds) for v in further), strict=True)
        return Features(
            pooled, tokens, prefix, batches[0].grid, views=Views(*map(torch.cat, parts)) if further else None
        )
