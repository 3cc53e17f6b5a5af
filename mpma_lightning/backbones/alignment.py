"""Projection heads of Global and Local Alignment (GLA)."""

import torch.nn.functional as F
from torch import Tensor, nn

from mpma_lightning.backbones.spec import AlignSpec
from mpma_lightning.precision import full


class ProjectionHead(nn.Module):
    """Two-layer MLP, width → hidden → out, with LayerNorm [MGCA; the LayerNorm is ours]."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, out))

    def forward(self, x: Tensor, normalise: bool = True) -> Tensor:
        """(…, width) to (…, out), L2-normalised by default."""
        projected = self.mlp(x)
        return F.normalize(full(projected), dim=-1) if normalise else projected


class AlignmentHeads(nn.Module):
    """A projection for the image and one for the text; global and local alignment each have their own pair."""

    def __init__(self, spec: AlignSpec, image_width: int, text_width: int) -> None:
        super().__init__()
        hidden, out = spec.hidden or 0, spec.width or 0
        self.image = ProjectionHead(image_width, hidden, out)
        self.text = ProjectionHead(text_width, hidden, out)
