"""One film: anatomy, pose and findings in; pixels and the mask of every visible finding out."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from data_modules.phantom.anatomy import Anatomy, View, sample_pose
from data_modules.phantom.canvas import Canvas
from data_modules.phantom.exposure import expose
from data_modules.phantom.findings import plant, reshape
from data_modules.phantom.frontal import draw_frontal
from data_modules.phantom.lateral import draw_lateral
from data_modules.phantom.lateral_findings import plant_lateral
from data_modules.phantom.plan import Finding


@dataclass
class Film:
    """A rendered film: pixels (rows, columns) uint8 and (finding, boolean mask) pairs."""

    pixels: NDArray[np.uint8]
    planted: list[tuple[Finding, NDArray[np.bool_]]]


def render(
    anatomy: Anatomy, view: View, findings: list[Finding], size: int, rng: np.random.Generator, hard: bool = False
) -> Film:
    """Draw one film of about size x size pixels."""
    rows, columns = (round(size * ratio) for ratio in rng.uniform((1.0, 0.92), (1.16, 1.06)))
    canvas = Canvas(rows, columns, sample_pose(rng, hard))
    anatomy = reshape(_breathe(anatomy, view, rng), findings, rng)
    strength = rng.uniform(0.6, 0.85) if hard else rng.uniform(0.88, 1.0)
    planted = []
    scene = draw_lateral(canvas, anatomy, rng) if view == "LATERAL" else draw_frontal(canvas, anatomy, view, rng)
    for finding in findings:
        draw = plant_lateral if view == "LATERAL" else plant
        mask = draw(scene, finding, rng, strength)
        if mask is not None and (mask > 0.4).any():
            planted.append((finding, mask > 0.4))
    return Film(expose(scene, rng, hard), planted)


def _breathe(anatomy: Anatomy, view: View, rng: np.random.Generator) -> Anatomy:
    """Depth of inspiration; an AP film magnifies the heart and is taken at a higher diaphragm."""
    portable = view == "AP"
    lift = rng.uniform(-0.03, 0.03) + 0.06 * portable
    return replace(
        anatomy,
        dome={side: y - lift for side, y in anatomy.dome.items()},
        cardiothoracic=anatomy.cardiothoracic * (1.05 if portable else 1.0) * rng.uniform(0.98, 1.02),
        mediastinum=anatomy.mediastinum * (1.08 if portable else 1.0),
    )
