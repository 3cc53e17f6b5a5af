"""What a single corner patch knows of each finding, at every level of the image encoder: the image leaks into it."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mpma_lightning.backbones.encoder import ImageEncoder
from mpma_lightning.evaluation.classification import macro
from mpma_lightning.evaluation.linear_probe import linear_probe
from mpma_lightning.evaluation.metric import Metric, Scores, reference

LEAK = Metric("leak", higher_is_better=False, unit="share")
PIXELS = reference("leak/pixels")


@torch.no_grad()
def corner_features(encoder: ImageEncoder, image: Tensor) -> dict[str, Tensor]:
    """Of the top left patch of (B, 3, H, W): ``pixels`` (B, p·p) of the first channel, and ``level_<n>`` (B, D), the
    token there at each level that local alignment may read; empty for an encoder without feature maps."""
    if not encoder.has_maps:
        return {}
    side, local, levels = encoder.patch_size, encoder.local_levels.indices, encoder.levels.indices
    shift = local[-1] - levels[-1]
    found = encoder(image, levels=levels, local=local[0])
    corners = {level + shift: one[:, :, 0, 0] for level, one in zip(levels, found.levels, strict=True)}
    if found.local is not None:
        corners[local[0]] = found.local[:, 0]
    by_level = {f"level_{level}": corners[level].float() for level in sorted(corners)}
    return {"pixels": image[:, 0, :side, :side].flatten(1).float(), **by_level}


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
