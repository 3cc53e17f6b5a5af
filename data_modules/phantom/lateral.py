"""Draws the normal lateral chest of a patient as layers; the patient faces the image's left."""

import numpy as np

from data_modules.phantom.anatomy import Anatomy, Scene, draw_vessels, vessel_tree
from data_modules.phantom.canvas import Canvas, Points, closed_curve, open_curve

SPINE = [[0.30, -1.2], [0.42, -0.7], [0.52, -0.2], [0.50, 0.4], [0.40, 1.2]]


def draw_lateral(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator) -> Scene:
    """All layers of a normal lateral film of this anatomy."""
    a = anatomy
    lung = canvas.fill(lateral_lung(a), 0.012)
    heart = canvas.fill(lateral_heart(a), 0.02)
    mediastinum = canvas.fill(
        closed_curve([[-0.2, -1.1], [0.12, -1.1], [0.2, -0.55], [0.14, -0.1], [-0.1, 0.0], [-0.22, -0.3]]), 0.04
    )
    air = lung * (1 - 0.8 * heart) * (1 - 0.35 * mediastinum)
    air = air + 0.25 * canvas.stroke([np.array([[-0.02, -1.2], [0.06, -0.2]])], 0.06, 0.01)
    hilum = (0.06, -0.08)
    layers = vessel_tree(rng, hilum, (0.5, 0.6), a.vessels + 4, 0.0)
    glow = canvas.fill(closed_curve(np.array(hilum) + 0.12 * np.array([[-1, 0], [0, -1.2], [1, 0], [0, 1.2]])), 0.04)
    bone = _bone(canvas, a)
    return Scene(
        canvas,
        "LATERAL",
        a,
        _body(canvas, a),
        {"lung": lung},
        air.astype(np.float32),
        heart,
        mediastinum,
        (draw_vessels(canvas, layers) + 0.7 * glow).astype(np.float32),
        {"lung": hilum},
        bone,
    )


def lateral_lung(a: Anatomy) -> Points:
    """Outline of both lungs seen from the side, with a sharp posterior costophrenic angle."""
    dome = a.dome["right"]
    return closed_curve(
        [
            [0.08, a.apex],
            [-0.22, a.apex + 0.15],
            [-0.5, -0.3],
            [-0.58, 0.05],
            [-0.56, dome + 0.1],
            [-0.56, dome + 0.1],
            [-0.35, dome - 0.01],
            [-0.1, dome],
            [0.2, dome + 0.1],
            [0.5, dome + 0.32],
            [0.5, dome + 0.32],
            [0.60, 0.2],
            [0.60, -0.2],
            [0.45, a.apex + 0.15],
        ]
    )


def lateral_heart(a: Anatomy) -> Points:
    """The heart rests on the diaphragm behind the sternum; it grows backwards."""
    depth, dome = a.cardiothoracic * 1.15, a.dome["right"]
    return closed_curve(
        [
            [-0.42, dome - 0.42],
            [-0.53, dome - 0.15],
            [-0.48, dome + 0.06],
            [-0.5 + depth, dome + 0.05],
            [-0.47 + depth, dome - 0.2],
            [-0.5 + 0.8 * depth, dome - 0.45],
            [-0.2, dome - 0.6],
        ]
    )


def _body(canvas: Canvas, a: Anatomy) -> np.ndarray:
    front, back = -0.66 - a.fat, 0.72 + 0.5 * a.fat
    outline = [
        [-0.1, -1.5],
        [-0.2, -0.95],
        [front + 0.15, -0.5],
        [front - a.breast, 0.1],
        [front, 0.5],
        [front - 0.05, 1.5],
        [back, 1.5],
        [back + 0.05, 0.2],
        [back, -0.4],
        [0.55, -0.85],
        [0.35, -1.5],
    ]
    body = canvas.fill(closed_curve(outline), 0.02)
    y = canvas.grid[1]
    return (body * (1 + 0.12 * np.clip(y - 0.35, 0, 0.6) + 0.25 * np.clip(-y - 0.45, 0, 0.3))).astype(np.float32)


def _bone(canvas: Canvas, a: Anatomy) -> np.ndarray:
    path = open_curve(SPINE)
    spine = canvas.stroke([path], 0.16, 0.012)
    across = np.array([0.09, 0.02])
    discs = canvas.stroke([np.stack([p - across, p + across]) for p in path[::2]], 0.03, 0.008)
    sternum = canvas.stroke([open_curve([[-0.3, -0.55], [-0.56, -0.2], [-0.62, 0.2]])], 0.05, 0.01)
    ribs = []
    for i in range(8):
        y = a.apex + 0.1 + a.rib_step * i
        ribs.append(
            open_curve(
                [[0.5, y], [0.2, y + 0.1], [-0.15, y + 0.1 + a.rib_slope], [-0.45, y + 0.12 + a.rib_slope * 1.4]]
            )
        )
    return (0.8 * spine - 0.4 * discs + 1.1 * sternum + 0.45 * canvas.stroke(ribs, 0.045, 0.01)).astype(np.float32)
