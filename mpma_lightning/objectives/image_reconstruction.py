"""Masked image reconstruction with a super-resolution target."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from data_modules.errors import UserError
from mpma_lightning.backbones import Backbone, Features
from mpma_lightning.heads.cross_image_decoder import CrossImageDecoder
from mpma_lightning.heads.image_decoder import ImageDecoder
from mpma_lightning.masking import choose_predicted
from mpma_lightning.objectives.base import Objective, ObjectiveOptions
from mpma_lightning.objectives.state import PretrainingState
from mpma_lightning.precision import full


def patchify(image: Tensor, patch: int) -> Tensor:
    """(B, C, H, W) to (B, L, patch · patch · C), row by row [MAE]."""
    batch, channels, height, width = image.shape
    blocks = image.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return blocks.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, patch * patch * channels)


def unpatchify(patches: Tensor, grid: tuple[int, int], channels: int) -> Tensor:
    """The inverse of :func:`patchify`."""
    side = round((patches.shape[-1] / channels) ** 0.5)
    blocks = patches.reshape(len(patches), *grid, side, side, channels)
    return blocks.permute(0, 5, 1, 3, 2, 4).reshape(len(patches), channels, grid[0] * side, grid[1] * side)


def normalise_patches(patches: Tensor) -> Tensor:
    """Each patch to zero mean and unit variance (unbiased, ε = 1e-6) [MAE]."""
    return (patches - patches.mean(-1, keepdim=True)) / (patches.var(-1, keepdim=True) + 1e-6).sqrt()


@dataclass
class ImageReconstructionOptions(ObjectiveOptions):
    """L_img: mean squared error to the per-patch normalised target, over masked patches.

    Attributes:
        weight: λ_img.
        depth, width, heads: the decoder (4 blocks of 768, 6 heads [MRM]).
        kind: ``full``: self-attention over all patches [MAE, MRM]; ``cross``: in training, a random ``share`` of the
            masked patches by cross-attention to the visible ones [CrossMAE]; evaluation predicts all of them.
        share: of the masked patches that ``cross`` predicts in training.
        assisted: the decoder also attends to one token of the report, the pooled features that alignment reads. [ours;
            M3AE's decoder reads fused image tokens. In the paper only the image assists the report.]
    """

    depth: int = 4
    width: int = 768
    heads: int = 6
    kind: Literal["full", "cross"] = "full"
    share: float = 1 / 3
    assisted: bool = False

    masks: ClassVar[bool] = True

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("image", "text") if self.assisted else ("image",)

    def build(self, backbone: Backbone) -> "ImageReconstruction":
        return ImageReconstruction(self, backbone)


class ImageReconstruction(Objective):
    """Reads the image and, if ``assisted``, the report."""

    def __init__(self, options: ImageReconstructionOptions, backbone: Backbone) -> None:
        super().__init__()
        self.patch = backbone.image.patch_size
        if not 0 < options.share <= 1:
            raise UserError(f"image_reconstruction.share is {options.share}; expected 0 < share <= 1")
        self.share = options.share
        self.trains = ("image", "text") if options.assisted else ("image",)
        self.report = nn.Linear(backbone.text.width, backbone.image.width) if options.assisted else None
        kind = {"full": ImageDecoder, "cross": CrossImageDecoder}[options.kind]
        self.decoder: Any = kind(backbone.image.width, options.width, options.depth, options.heads)

    def set_target(self, scale: int, channels: int) -> None:
        """Set the size of a target patch: (patch · scale)² · channels values."""
        self.decoder.set_output((self.patch * scale) ** 2 * channels)

    def forward(self, state: PretrainingState) -> tuple[Tensor, Tensor]:
        """Sum over masked patches (under ``cross``, the chosen ones) of the mean squared error, and their number."""
        state.require("target", "image_mask")
        assert state.target is not None and state.image_mask is not None
        features, counted = state.image_features, state.image_mask.masked
        assert features.grid is not None and features.visible is not None
        prefix = features.prefix
        if self.report is not None:
            prefix = torch.cat([prefix, self.report(state.aligned_text.pooled).unsqueeze(1)], dim=1)
        if isinstance(self.decoder, CrossImageDecoder):
            predicted, counted = self._predict_chosen(state, features, prefix)
        else:
            predicted = self.decoder(features.tokens, features.visible, features.grid, prefix)
        patches = patchify(state.target, state.target.shape[-1] // features.grid[1])
        if predicted.shape != patches.shape:
            raise ValueError(f"decoder gives {tuple(predicted.shape)}, the target has {tuple(patches.shape)}")
        state.outputs["image_prediction"] = predicted.detach()
        error = (full(predicted) - normalise_patches(full(patches))).square().mean(-1)
        return (error * counted).sum(), counted.sum().to(torch.float32)

    def reads(self, state: PretrainingState, part: str) -> Features:
        return state.image_features if part == "image" else state.aligned_text

    def _predict_chosen(self, state: PretrainingState, features: Features, prefix: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, values), zeros (the mean of a patch) where nothing is predicted, and (B, L) which patches are."""
        state.require("seed")
        assert state.image_mask is not None and state.seed is not None and features.visible is not None
        masked = state.image_mask.masked
        chosen = choose_predicted(state.seed, state.image_mask, self.share if self.training else 1.0)
        some = self.decoder(features.tokens, features.visible, features.grid, prefix, chosen)
        everywhere = some.new_zeros(*masked.shape, some.shape[-1])
        index = chosen.unsqueeze(-1).expand_as(some)
        return everywhere.scatter(1, index, some), torch.zeros_like(masked).scatter(1, chosen, True)
