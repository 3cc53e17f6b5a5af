"""Draws the normal frontal chest (PA or AP) of a patient as layers."""

import numpy as np

from data_modules.phantom.anatomy import SIGN, Anatomy, Rib, Scene, View, draw_vessels, vessel_tree
from data_modules.phantom.canvas import Canvas, Points, closed_curve, open_curve


def draw_frontal(canvas: Canvas, anatomy: Anatomy, view: View, rng: np.random.Generator) -> Scene:
    """All layers of a normal frontal film of this anatomy."""
    a = anatomy
    lung = {side: canvas.fill(lung_outline(a, side), 0.012) for side in SIGN}
    heart = canvas.fill(heart_outline(a), 0.014)
    mediastinum = canvas.fill(mediastinum_outline(a), 0.012)
    hila = {side: (sign * (a.mediastinum + 0.06), -0.10 + 0.03 * sign) for side, sign in SIGN.items()}
    air = np.maximum(lung["left"], lung["right"]) * (1 - 0.92 * np.maximum(heart, mediastinum))
    trachea = canvas.stroke([np.array([[0.0, -1.3], [a.scoliosis, -0.26]])], 0.06, 0.01)
    bronchi = canvas.stroke([np.array([[0.16, -0.1], [a.scoliosis, -0.27], [-0.14, -0.12]])], 0.035, 0.01)
    bubble = canvas.fill(
        closed_curve(
            [
                [0.2, a.dome["left"] + 0.09],
                [0.32, a.dome["left"] + 0.05],
                [0.45, a.dome["left"] + 0.1],
                [0.32, a.dome["left"] + 0.16],
            ]
        ),
        0.015,
    )
    air = air + 0.42 * trachea + 0.2 * bronchi + float(rng.random() < 0.6) * 0.45 * bubble
    trees = [vessel_tree(rng, hila[side], (a.thorax * 0.8, 0.62), a.vessels, sign) for side, sign in SIGN.items()]
    vessels = draw_vessels(canvas, [trees[0][i] + trees[1][i] for i in range(3)])
    glow = sum(
        canvas.fill(closed_curve(np.array(hila[s]) + 0.09 * np.array([[-1, 0], [0, -1.3], [1, 0], [0, 1.3]])), 0.035)
        for s in SIGN
    )
    return Scene(
        canvas,
        view,
        a,
        _body(canvas, a),
        lung,
        air.astype(np.float32),
        heart,
        mediastinum,
        (vessels + 0.6 * glow).astype(np.float32),
        hila,
        _bone(canvas, a),
        _ribs(a),
    )


def lung_outline(a: Anatomy, side: str) -> Points:
    """Closed outline of one lung, behind heart and mediastinum."""
    s, dome = SIGN[side], a.dome[side]
    w = a.wall
    outline = [
        [0.24, a.apex],
        [0.12, a.apex + 0.2],
        [0.08, -0.2],
        [0.08, dome + 0.06],
        [0.2, dome + 0.03],
        [0.36, dome],
        [0.52, dome + 0.06],
        [w(0.4) + 0.01, dome + 0.22],
        [w(0.4) + 0.01, dome + 0.22],
        [w(0.3) + 0.01, dome - 0.1],
        [w(0.0), 0.0],
        [w(-0.3), -0.3],
        [w(-0.5), -0.5],
        [w(a.apex + 0.06), a.apex + 0.06],
    ]
    return closed_curve(np.array(outline) * [s, 1])


def heart_outline(a: Anatomy) -> Points:
    """The cardiac silhouette; its width is the cardiothoracic ratio times the thorax."""
    width, floor = a.cardiothoracic * 2 * a.thorax, (a.dome["left"] + a.dome["right"]) / 2
    right, left, top = -0.34 * width, 0.66 * width, floor - 0.30 - 0.45 * width
    return closed_curve(
        [
            [-0.08, top],
            [right * 0.9, floor - 0.30],
            [right, floor - 0.14],
            [right * 0.8, floor + 0.04],
            [0.1, floor + 0.12],
            [left * 0.88, floor + 0.07],
            [left, floor - 0.05],
            [left * 0.90, floor - 0.20],
            [left * 0.62, top + 0.10],
            [0.1, top - 0.05],
        ]
    )


def mediastinum_outline(a: Anatomy) -> Points:
    """Upper mediastinum with the aortic knob on the patient's left."""
    m, k = a.mediastinum, a.knob
    return closed_curve(
        [
            [-m * 0.8, -1.2],
            [-m * 0.9, -0.6],
            [-m, -0.25],
            [-m, 0.1],
            [0.0, 0.3],
            [m, 0.05],
            [m + 0.3 * k, -0.14],
            [m + k, -0.3],
            [m * 0.85, -0.46],
            [m * 0.75, -0.7],
            [m * 0.7, -1.2],
        ]
    )


def _body(canvas: Canvas, a: Anatomy) -> np.ndarray:
    side = a.thorax + 0.09 + a.fat
    outline = [
        [0.2, -1.5],
        [0.21, -0.95],
        [0.45, -0.88],
        [side + 0.12, -0.72],
        [side + 0.3, -0.4],
        [side + 0.26, -0.1],
        [side + 0.02, 0.1],
        [side, 0.5],
        [side + 0.04, 1.5],
    ]
    half = np.array(outline)
    body = 0.9 * canvas.fill(closed_curve(np.concatenate([half, half[::-1] * [-1, 1]])), 0.02)
    x, y = canvas.grid
    body *= 1 + 0.25 * np.clip(y - 0.30, 0, 0.4) + 0.05 * np.exp(-(((np.abs(x) - a.thorax - 0.08) / 0.1) ** 2))
    for sign in SIGN.values():
        centre = np.array([sign * 0.42, 0.22 + a.breast])
        disc = centre + 0.27 * np.array([[-1, 0], [0, -1], [1, 0], [0, 1]])
        body += a.breast * 0.9 * canvas.fill(closed_curve(disc), 0.05)
    return body.astype(np.float32)


def _bone(canvas: Canvas, a: Anatomy) -> np.ndarray:
    spine_y = np.linspace(-1.1, 1.2, 24)
    spine_x = a.scoliosis * np.sin(spine_y * 2.5)
    spine = canvas.stroke([np.stack([spine_x, spine_y], 1)], 0.15, 0.012)
    discs = canvas.stroke(
        [np.array([[x - 0.07, y], [x + 0.07, y]]) for x, y in zip(spine_x, spine_y, strict=True)], 0.022, 0.008
    )
    clavicles = canvas.stroke(
        [
            open_curve(
                np.array([[0.07, -0.58], [0.25, -0.64], [0.45, -0.72], [0.72, -0.76]]) * [s, 1] + [0, a.apex + 0.73]
            )
            for s in SIGN.values()
        ],
        0.06,
        0.008,
    )
    scapulae = canvas.stroke(
        [
            open_curve(np.array([[0.62, -0.62], [a.thorax + 0.03, -0.3], [a.thorax + 0.06, 0.0]]) * [s, 1])
            for s in SIGN.values()
        ],
        0.05,
        0.015,
    )
    anterior = canvas.stroke([_anterior_rib(a, s, i) for s in SIGN.values() for i in range(1, 7)], 0.055, 0.012)
    return (0.55 * spine - 0.3 * discs + 1.5 * clavicles + 0.7 * scapulae + 0.38 * anterior).astype(np.float32)


def _ribs(a: Anatomy) -> list[Rib]:
    return [Rib(side, i + 1, _posterior_rib(a, s, i)) for side, s in SIGN.items() for i in range(9)]


def _posterior_rib(a: Anatomy, sign: float, i: int) -> Points:
    y0 = a.apex + 0.06 + a.rib_step * i
    t = np.linspace(0, 1, 14)
    y = y0 - 0.05 * np.sin(np.pi * t) + a.rib_slope * t**2.2
    reach = np.array([a.wall(v) for v in y]) + 0.03
    return np.stack([sign * (0.07 + (reach - 0.07) * np.sin(t * np.pi / 2) ** 0.9), y], 1)


def _anterior_rib(a: Anatomy, sign: float, i: int) -> Points:
    y0 = a.apex + 0.18 + a.rib_slope + a.rib_step * i
    return open_curve(
        np.array([[a.wall(y0), y0 - 0.05], [a.wall(y0) * 0.85, y0 + 0.05], [0.42, y0 + 0.17], [0.30, y0 + 0.2]])
        * [sign, 1]
    )
