"""What a single corner patch knows of each finding, at every level of the image encoder: the image leaks into it."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mpma_lightning.backbones.encoder import ImageEncoder
from mpma_lightning.evaluation.classification import macro
from mpma_lightning.evaluation.linear_probe import linear_probe
from mpma_lightning.evaluation.metric import Metric, Scores, reference

LEAK = Metric("leak", higher_is_better=False, unit="share")
PIXELS = reference("leak/pixels")
_MOST = 8
"""Rows and columns of pixel means: a probe of some hundred films can tell them apart."""


def reach(encoder: ImageEncoder, image: Tensor) -> tuple[int, int]:
    """Height and width, from the top left corner, of the pixels that the corner token of the first level depends on.

    Args:
        encoder: with feature maps.
        image: (B, 3, H, W) sets the size; what is looked at is noise.
    """
    with torch.inference_mode(False), torch.enable_grad():
        draw = torch.Generator().manual_seed(0)
        noise = torch.randn((2, *image.shape[1:]), generator=draw).to(image).requires_grad_()
        first = encoder.local_levels.indices[0]
        found = encoder(noise, levels=encoder.levels.indices[:1], local=first)
        corner = found.levels[0][:, :, 0, 0] if found.local is None else found.local[:, 0]
        (gradient,) = torch.autograd.grad(corner.float().square().sum(), noise)
    read = gradient.ne(0).any(0).any(0)
    last = [int(read.any(1 - axis).nonzero().max()) + 1 for axis in (0, 1)]
    return last[0], last[1]


@torch.no_grad()
def corner_features(encoder: ImageEncoder, image: Tensor) -> dict[str, Tensor]:
    """What is known at the top left patch of (B, 3, H, W); empty for an encoder without feature maps.

    Returns:
        ``pixels``: (B, at most 64) means of the pixels that the token of the first level depends on, in the first
        channel; ``level_<n>``: (B, D) the token at each level that local alignment may read.
    """
    if not encoder.has_maps:
        return {}
    local, levels = encoder.local_levels.indices, encoder.levels.indices
    rows, columns = reach(encoder, image)
    seen = F.adaptive_avg_pool2d(image[:, :1, :rows, :columns].float(), (min(rows, _MOST), min(columns, _MOST)))
    shift = local[-1] - levels[-1]
    found = encoder(image, levels=levels, local=local[0])
    corners = {level + shift: one[:, :, 0, 0] for level, one in zip(levels, found.levels, strict=True)}
    if found.local is not None:
        corners[local[0]] = found.local[:, 0]
    by_level = {f"level_{level}": corners[level].float() for level in sorted(corners)}
    return {"pixels": seen.flatten(1), **by_level}


def leak_scores(
    train: dict[str, Any], train_labels: np.ndarray, test: dict[str, Any], test_labels: np.ndarray, classes: list[str]
) -> Scores:
    """AUROC of linear probes of corner features: macro, and by finding.

    Args:
        train, test: (N, D) arrays by name, as :func:`corner_features` names them.
        train_labels, test_labels: (N, K); NaN is unknown.
        classes: K names.
    """
    scores: dict[Metric, float] = {}
    for name in train:
        found = linear_probe(np.asarray(train[name]), train_labels, np.asarray(test[name]), test_labels, classes)
        if found:
            metric = PIXELS if name == "pixels" else LEAK.of(name)
            scores[metric] = macro(found)
            scores |= {metric.of(finding): value for finding, value in found.items()}
    return scores
