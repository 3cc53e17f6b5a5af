"""Plants those findings that a lateral film shows; sides cannot be told apart there."""

import numpy as np

from data_modules.phantom.anatomy import Scene
from data_modules.phantom.canvas import Mask, blob, closed_curve, open_curve
from data_modules.phantom.plan import Finding

_FLUID = {"small": 0.22, "moderate": 0.40, "large": 0.65}
_WATER = {"mild": 0.35, "moderate": 0.5, "severe": 0.65}
_ZONES = {"upper": (-0.5, -0.25), "mid": (-0.2, 0.05), "lower": (0.12, 0.3)}


def plant_lateral(scene: Scene, finding: Finding, rng: np.random.Generator, strength: float) -> Mask | None:
    """Draw one finding on a lateral film; None where a lateral film does not show it."""
    canvas, lung, floor = scene.canvas, scene.lung["lung"], scene.anatomy.dome["right"]
    if finding.name == "Cardiomegaly":
        return scene.heart
    if finding.name == "Pleural Effusion":
        height = _FLUID[finding.size or "small"]
        outline = closed_curve(
            [
                [0.66, floor + 0.28 - height],
                [0.45, floor + 0.34 - height],
                [0.1, floor + 0.2 - 0.6 * height],
                [-0.1, floor + 0.1],
                [0.2, floor + 0.4],
                [0.66, floor + 0.4],
            ]
        )
        mask, amount = canvas.fill(outline, 0.015) * lung, 0.95
    elif finding.name in ("Consolidation", "Lung Lesion"):
        low, high = _ZONES[finding.zone or "mid"]
        centre = (rng.uniform(-0.15, 0.3), rng.uniform(low, high))
        solid = finding.name == "Lung Lesion"
        radius = 0.03 * float(finding.size or 2.5) if solid else rng.uniform(0.17, 0.24)
        mask = canvas.fill(blob(rng, centre, radius, 0.05 if solid else 0.2), 0.006 if solid else 0.035) * lung
        amount = 0.95 if solid else 0.85
    elif finding.name == "Edema":
        mask, amount = canvas.fill(blob(rng, (0.05, 0.0), 0.38, 0.1), 0.08) * lung, _WATER[finding.size or "mild"]
    elif finding.name == "Atelectasis":
        bands = [
            open_curve([[-0.1, floor - v], [0.1, floor - v - 0.03], [0.3, floor - v + 0.02]]) for v in (0.06, 0.15)
        ]
        mask, amount = canvas.stroke(bands, 0.042, 0.006) * lung, 0.85
    elif finding.name == "Support Devices":
        return _device(scene, finding, floor)
    else:
        return None
    scene.air -= np.clip(scene.air, 0, None) * np.clip(mask * amount * strength, 0, 0.95)
    return mask


def _device(scene: Scene, finding: Finding, floor: float) -> Mask:
    canvas = scene.canvas
    if finding.kind == "pacemaker":
        box = canvas.fill(closed_curve([[-0.54, -0.54], [-0.47, -0.54], [-0.45, -0.36], [-0.53, -0.36]]))
        drawn = np.maximum(
            box,
            0.8
            * canvas.stroke(
                [open_curve([[-0.48, -0.5], [-0.1, -0.6], [-0.1, -0.2], [-0.2, floor - 0.15], [-0.4, floor - 0.06]])],
                0.022,
                0.003,
            ),
        )
    elif finding.kind == "central line":
        drawn = 0.85 * canvas.stroke([open_curve([[-0.05, -1.1], [-0.08, -0.6], [-0.08, -0.1]])], 0.022, 0.003)
    elif finding.kind == "endotracheal tube":
        drawn = 0.85 * canvas.stroke([np.array([[-0.02, -1.2], [0.03, -0.45]])], 0.03, 0.003)
    else:
        drawn = 0.9 * canvas.stroke(
            [open_curve([[0.0, -1.2], [0.14, -0.5], [0.2, 0.1], [0.1, floor], [-0.1, floor + 0.2]])], 0.026, 0.003
        )
    scene.metal = np.maximum(scene.metal, drawn)
    return drawn
