"""Projection heads of Global and Local Alignment (GLA), and of published dual encoders."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from mpma_lightning.backbones.spec import AlignSpec
from mpma_lightning.precision import full

BETWEEN: dict[str, Callable[[int], list[nn.Module]]] = {
    "mlp": lambda width: [nn.LayerNorm(width), nn.ReLU()],  # [MGCA; the LayerNorm is ours]
    "relu": lambda width: [nn.ReLU()],  # [MGCA, ConVIRT and BioViL, with batch norms folded into the linear layers]
    "gelu": lambda width: [nn.GELU()],  # [open_clip]
    "gelu_norm": lambda width: [nn.GELU(), nn.LayerNorm(width, eps=1e-12)],  # [CXR-BERT]
}
"""What lies between the two linear layers of a head, by its kind."""


class ProjectionHead(nn.Module):
    """Width → out, through a hidden layer or by one linear layer; or nothing (``none``)."""

    def __init__(self, width: int, hidden: int, out: int, kind: str = "mlp") -> None:
        super().__init__()
        if kind == "none":
            layers: list[nn.Module] = []
        elif kind == "linear":
            layers = [nn.Linear(width, out)]
        else:
            layers = [nn.Linear(width, hidden), *BETWEEN[kind](hidden), nn.Linear(hidden, out)]
        self.mlp = nn.Sequential(*layers)

    def forward(self, x: Tensor, normalise: bool = True) -> Tensor:
        """(…, width) to (…, out), L2-normalised by default."""
        projected = self.mlp(x)
        return F.normalize(full(projected), dim=-1) if normalise else projected


class AlignmentHeads(nn.Module):
    """A projection for the image and one for the text; global and local alignment each have their own pair."""

    def __init__(self, spec: AlignSpec, image_width: int, text_width: int) -> None:
        super().__init__()
        hidden, out = spec.hidden or 0, spec.width or 0
        self.image = ProjectionHead(image_width, hidden, out, spec.image_head or "mlp")
        self.text = ProjectionHead(text_width, spec.text_hidden or hidden, out, spec.text_head or "mlp")
