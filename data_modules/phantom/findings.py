"""Plants findings into a frontal scene: one function a finding; each changes layers and returns the finding's mask."""

from dataclasses import replace

import cv2
import numpy as np

from data_modules.phantom.anatomy import SIGN, Anatomy, Scene
from data_modules.phantom.canvas import Mask, Points, blob, closed_curve, open_curve
from data_modules.phantom.frontal import lung_outline
from data_modules.phantom.plan import RIBS, Finding

HEART = {"mild": 0.535, "moderate": 0.58, "severe": 0.64}  # cardiothoracic ratio
_WIDTH = {"mild": 0.195, "marked": 0.24}  # half width of the upper mediastinum
_FLUID = {"small": 0.20, "moderate": 0.42, "large": 0.72}  # height of an effusion at the chest wall
_RETRACTION = {"small": 0.24, "moderate": 0.38, "large": 0.58}
_EXTENT = {None: (0.18, 0.26), "small": (0.11, 0.14), "moderate": (0.18, 0.21), "large": (0.26, 0.3)}
_WATER = {"mild": 0.30, "moderate": 0.42, "severe": 0.55}
_ZONES = {"upper": (0.10, 0.36), "mid": (0.36, 0.64), "lower": (0.64, 0.95)}  # of the lung's height


def reshape(anatomy: Anatomy, findings: list[Finding], rng: np.random.Generator) -> Anatomy:
    """The anatomy, with heart, mediastinum and diaphragm changed as the findings change their outlines."""
    dome = dict(anatomy.dome)
    for finding in findings:
        if finding.name == "Cardiomegaly":
            ratio = HEART[finding.size or "mild"] + rng.uniform(-0.02, 0.02)
            anatomy = replace(anatomy, cardiothoracic=ratio)
        elif finding.name == "Enlarged Cardiomediastinum":
            anatomy = replace(anatomy, mediastinum=_WIDTH[finding.size or "mild"] + rng.uniform(-0.015, 0.015))
        elif finding.name == "Atelectasis":
            for side in _sides(finding):
                dome[side] -= 0.07
    return replace(anatomy, dome=dome)


def plant(scene: Scene, finding: Finding, rng: np.random.Generator, strength: float) -> Mask:
    """Draw one finding; strength scales the contrast of soft findings. Returns the mask of all it covers."""
    return _PLANT[finding.name](scene, finding, rng, strength)


def _sides(finding: Finding) -> list[str]:
    return list(SIGN) if finding.side == "bilateral" else [finding.side or "left"]


def _cardiomegaly(scene: Scene, finding: Finding, rng: np.random.Generator, strength: float) -> Mask:
    return scene.heart


def _mediastinum(scene: Scene, finding: Finding, rng: np.random.Generator, strength: float) -> Mask:
    y = scene.canvas.grid[1]
    return scene.mediastinum * ((y > -0.75) & (y < 0.0)).astype(np.float32)


def _effusion(scene: Scene, finding: Finding, rng: np.random.Generator, strength: float) -> Mask:
    fluid = scene.canvas.zeros()
    for side in _sides(finding):
        s, a = SIGN[side], scene.anatomy
        height, floor = _FLUID[finding.size or "small"] * rng.uniform(0.9, 1.15), a.dome[side] + 0.2
        top, inner = floor - height, floor - 0.10 - 0.45 * height
        outline = [
            [a.thorax + 0.05, top - 0.06],
            [a.thorax - 0.08, top + 0.04],
            [a.thorax - 0.28, inner],
            [0.04, inner + 0.03],
            [0.04, floor + 0.3],
            [a.thorax + 0.2, floor + 0.3],
            [a.thorax + 0.1, top],
        ]
        region = scene.canvas.fill(closed_curve(np.array(outline) * [s, 1]), 0.014)
        fluid = np.maximum(fluid, region * scene.lung[side])
    scene.air -= scene.air * fluid * 0.97 * strength
    scene.lines += 0.25 * fluid * strength
    scene.vessels *= 1 - fluid
    scene.taken = np.maximum(scene.taken, fluid)
    return fluid


def _pneumothorax(scene: Scene, finding: Finding, rng: np.random.Generator, strength: float) -> Mask:
    side = finding.side or "left"
    a, outline = scene.anatomy, lung_outline(scene.anatomy, side)
    retraction = _RETRACTION[finding.size or "small"] * rng.uniform(0.9, 1.1)
    hilum = np.array([SIGN[side] * 0.1, 0.12])
    floor = a.dome[side]
    weight = np.clip((floor + 0.1 - outline[:, 1]) / (floor - a.apex), 0.0, 1.0)[:, None]
    collapsed = outline + (hilum - outline) * retraction * (0.25 + 0.75 * weight)
    edge = scene.canvas.fill(collapsed, 0.006)
    gas = np.clip(scene.lung[side] - edge, 0, 1) * (1 - np.maximum(scene.heart, scene.mediastinum))
    line = scene.canvas.stroke([np.concatenate([collapsed, collapsed[:1]])], 0.022, 0.004) * scene.lung[side]
    line *= scene.canvas.blur(gas, 0.02) > 0.15
    scene.vessels *= 1 - gas
    scene.air += gas * 0.45 * strength
    scene.air -= scene.lung[side] * edge * scene.air * (0.10 + 0.5 * retraction * retraction)
    scene.lines += 1.6 * line * strength
    scene.taken = np.maximum(scene.taken, np.clip(scene.canvas.blur(gas, 0.03) * 2, 0, 1))
    return gas


def _consolidation(scene: Scene, finding: Finding, rng: np.random.Generator, strength: float) -> Mask:
    side, radius = finding.side or "left", rng.uniform(*_EXTENT[finding.size])
    centre = _place(scene, side, finding.zone, radius * 0.8, rng)
    opaque = scene.canvas.fill(blob(rng, centre, radius, 0.22), 0.035) * scene.lung[side]
    mottled = opaque * np.clip(0.9 + 0.13 * scene.canvas.texture(rng, 26), 0, 1)
    if finding.kind == "pneumonia":
        bronchi = [
            open_curve(
                np.array(centre) + radius * np.array([[-0.8, d - 0.3], [0.0, d], [0.7, 1.6 * d]]) * [SIGN[side], 1]
            )
            for d in (-0.35, 0.0, 0.35)
        ]
        mottled *= 1 - 0.75 * scene.canvas.stroke(bronchi, 0.022, 0.004)
    _cloud(scene, mottled, 0.97 * strength)
    scene.lines += 0.55 * mottled * strength
    scene.taken = np.maximum(scene.taken, opaque)
    return opaque


def _edema(scene: Scene, finding: Finding, rng: np.random.Generator, strength: float) -> Mask:
    canvas, haze = scene.canvas, scene.canvas.zeros()
    lines = []
    for side, s in SIGN.items():
        x, y = scene.hila[side]
        wing = blob(rng, (x + s * 0.10, y + 0.06), 0.33, 0.08) * [0.8, 1.0] + [x * 0.2, 0]
        haze = np.maximum(haze, canvas.fill(wing, 0.08) * scene.lung[side])
        wall = scene.anatomy.thorax
        lines += [
            np.array([[s * (wall - 0.02), v], [s * (wall - 0.14), v + 0.015]])
            for v in np.arange(0.02, scene.anatomy.dome[side] + 0.08, 0.055)
        ]
    mottled = haze * np.clip(0.85 + 0.22 * canvas.texture(rng, 40), 0, 1.2)
    _cloud(scene, mottled, (_WATER[finding.size or "mild"] + 0.15) * strength)
    scene.lines += 0.9 * canvas.stroke(lines, 0.013, 0.004) * np.maximum(*scene.lung.values()) * strength
    scene.vessels *= 1 + 0.9 * haze
    return haze


def _atelectasis(scene: Scene, finding: Finding, rng: np.random.Generator, strength: float) -> Mask:
    covered = scene.canvas.zeros()
    for side in _sides(finding):
        s, floor = SIGN[side], scene.anatomy.dome[side]
        bands = []
        for i in range(int(rng.integers(2, 4))):
            y = floor - 0.06 - 0.085 * i - rng.uniform(0, 0.03)
            x0, length, tilt = rng.uniform(0.24, 0.32), rng.uniform(0.24, 0.34), rng.uniform(-0.08, 0.08)
            bands.append(open_curve(np.array([[x0, y], [x0 + length / 2, y - 0.02], [x0 + length, y + tilt]]) * [s, 1]))
        band = scene.canvas.stroke(bands, 0.042, 0.006) * scene.lung[side]
        covered = np.maximum(covered, band)
    _cloud(scene, covered, 0.95 * strength)
    scene.lines += 0.35 * covered * strength
    scene.taken = np.maximum(scene.taken, np.clip(scene.canvas.blur(covered, 0.02) * 2, 0, 1))
    return covered


def _lesion(scene: Scene, finding: Finding, rng: np.random.Generator, strength: float) -> Mask:
    side, radius = finding.side or "left", 0.03 * float(finding.size or 2.5)
    centre = _place(scene, side, finding.zone, radius * 1.15, rng)
    disc = scene.canvas.fill(blob(rng, centre, radius, 0.05), 0.006)
    _cloud(scene, disc, 0.95 * strength)
    scene.lines += 0.35 * disc * strength
    scene.taken = np.maximum(scene.taken, scene.canvas.fill(blob(rng, centre, radius * 1.3, 0.0)))
    return disc


def _fracture(scene: Scene, finding: Finding, rng: np.random.Generator, strength: float) -> Mask:
    side = finding.side or "left"
    first = 2 + RIBS.index(finding.kind or "third")
    broken = range(first, first + finding.count)
    cut = rng.uniform(0.42, 0.60)
    ends: list[Points] = []
    for rib in [rib for rib in scene.ribs if rib.side == side and rib.number in broken]:
        path = rib.path
        k = round(cut * (len(path) - 1))
        apart = np.array([SIGN[side] * 0.035, 0.085 * rng.uniform(0.9, 1.15)])
        distal = path[k:] + apart * np.linspace(1, 0.4, len(path) - k)[:, None]
        scene.ribs.remove(rib)
        scene.ribs += [replace(rib, path=path[: k + 1]), replace(rib, path=distal)]
        ends += [path[max(k - 2, 0) : k + 1], distal[:3]]
    callus = scene.canvas.stroke(ends, 0.062, 0.005)
    scene.bone += 3.2 * callus * (0.5 + 0.5 * strength)
    outline = np.concatenate(ends)
    low, high = outline.min(0) - 0.035, outline.max(0) + 0.035
    return scene.canvas.fill([[low[0], low[1]], [high[0], low[1]], [high[0], high[1]], [low[0], high[1]]])


def _device(scene: Scene, finding: Finding, rng: np.random.Generator, strength: float) -> Mask:
    a, canvas, jig = scene.anatomy, scene.canvas, rng.uniform(-0.02, 0.02, 2)
    s = SIGN.get(finding.side or "", 1.0)
    floor = (a.dome["left"] + a.dome["right"]) / 2
    width = 0.022
    if finding.kind == "pacemaker":
        box = np.array([s * 0.50, -0.42]) + jig
        corners = closed_curve(box + np.array([[-0.1, -0.08], [0.1, -0.08], [0.11, 0.05], [0, 0.1], [-0.11, 0.05]]))
        vein = np.array([box - (0, 0.08), [s * 0.30, -0.56], [s * 0.08, -0.42], [-0.10, -0.15]])
        tips = (
            [[-0.14, floor - 0.30], [-0.10, floor - 0.22]],
            [[-0.12, floor - 0.22], [0.08, floor - 0.06], [0.24, floor - 0.06]],
        )
        leads = [open_curve(np.concatenate([vein, tip])) for tip in tips]
        drawn = np.maximum(canvas.fill(corners, 0.004), 0.8 * canvas.stroke(leads, width, 0.003))
    elif finding.kind == "central line":
        path = [[s * 0.24, -1.15], [s * 0.20, -0.8], [s * 0.10, -0.55], [-0.10, -0.36], [-0.11, -0.05 + jig[0]]]
        drawn = 0.85 * canvas.stroke([open_curve(path)], width, 0.003)
    elif finding.kind == "endotracheal tube":
        walls = [np.array([[d, -1.3], [d + a.scoliosis, -0.42 + jig[1]]]) for d in (-0.028, 0.028)]
        drawn = 0.85 * canvas.stroke(walls, 0.016, 0.003)
    else:
        path = [[0.03, -1.3], [0.04, -0.5], [0.05, 0.0], [0.06, floor], [0.22, floor + 0.16], [0.36, floor + 0.2]]
        drawn = 0.9 * canvas.stroke([open_curve(path)], 0.026, 0.003)
    scene.metal = np.maximum(scene.metal, drawn)
    return drawn


def _cloud(scene: Scene, mask: Mask, amount: float) -> None:
    scene.air -= np.clip(scene.air, 0, None) * np.clip(mask * amount, 0, 0.95)


def _place(scene: Scene, side: str, zone: str | None, radius: float, rng: np.random.Generator) -> tuple[float, float]:
    """A centre in the zone; the disc around it lies in visible lung if there is room for it."""
    open_lung = scene.lung[side] * (1 - np.maximum(scene.heart, scene.mediastinum)) * (1 - scene.taken)
    x, y = scene.canvas.grid
    top, height = scene.anatomy.apex, scene.anatomy.dome[side] + 0.12 - scene.anatomy.apex
    low, high = _ZONES[zone or "mid"]
    in_zone = (y > top + low * height) & (y < top + high * height)
    depth = cv2.distanceTransform((open_lung > 0.5).astype(np.uint8), cv2.DIST_L2, 3) / scene.canvas.unit
    depth = depth * in_zone
    room = np.flatnonzero(depth >= min(radius, 0.85 * float(depth.max()) + 1e-6))
    if not len(room):
        room = np.flatnonzero(in_zone & (scene.lung[side] > 0.5))
    chosen = int(room[rng.integers(len(room))])
    return float(x.flat[chosen]), float(y.flat[chosen])


_PLANT = {
    "Cardiomegaly": _cardiomegaly,
    "Enlarged Cardiomediastinum": _mediastinum,
    "Pleural Effusion": _effusion,
    "Pneumothorax": _pneumothorax,
    "Consolidation": _consolidation,
    "Edema": _edema,
    "Atelectasis": _atelectasis,
    "Lung Lesion": _lesion,
    "Fracture": _fracture,
    "Support Devices": _device,
}
