"""Turns the layers of a scene into 8-bit pixels: attenuation, exposure, collimation, marker, noise, equalisation."""

import cv2
import numpy as np
from numpy.typing import NDArray

from data_modules.phantom.anatomy import Scene
from data_modules.phantom.canvas import Mask


def expose(scene: Scene, rng: np.random.Generator, hard: bool) -> NDArray[np.uint8]:
    """(rows, columns) uint8, histogram-equalised as MIMIC-CXR-JPG is."""
    canvas = scene.canvas
    bone: Mask = scene.bone
    if scene.ribs:
        behind: Mask = 1 - np.float32(0.6) * np.maximum(scene.heart, scene.mediastinum)
        bone = bone + np.float32(0.85) * behind * canvas.stroke([rib.path for rib in scene.ribs], 0.05, 0.008)
    air = np.clip(scene.air, -0.1, 1.5)
    inside = np.clip(scene.body * 1.3, 0, 1)
    vessels = scene.vessels * np.clip(air, 0, 1)
    film = 0.60 * scene.body - scene.anatomy.clarity * air * inside
    film += inside * (0.07 * bone + 0.085 * vessels + 0.11 * scene.lines)
    film += inside * 0.07 * np.maximum(scene.heart, scene.mediastinum)
    uneven = 0.035 if hard else 0.014
    film *= 1 + uneven * canvas.texture(rng, 3) + 0.5 * uneven * canvas.texture(rng, 9)
    film = np.maximum(film, (0.42 + 0.55 * scene.metal) * (scene.metal > 0.15) + film * (scene.metal <= 0.15))
    gamma = float(np.exp(rng.normal(0, 0.28 if hard else 0.12)))
    film = np.clip(film + 0.05, 0, 1.05) ** gamma
    film += rng.standard_normal(film.shape, dtype=np.float32) * (0.018 if hard else 0.008)
    film = np.clip(film, 0, 1)
    _collimate(film, rng)
    equal = cv2.equalizeHist((film * 255).astype(np.uint8))
    _marker(equal, scene, rng)
    return equal


def _collimate(film: np.ndarray, rng: np.random.Generator) -> None:
    for turn in range(4):
        if rng.random() < 0.2:
            np.rot90(film, turn)[: int(rng.uniform(0.01, 0.045) * film.shape[turn % 2])] = 0


def _marker(film: NDArray[np.uint8], scene: Scene, rng: np.random.Generator) -> None:
    """The lead letter of the technician: L on the patient's left."""
    rows, columns = film.shape
    place = (int(columns * rng.uniform(0.86, 0.92)), int(rows * rng.uniform(0.08, 0.2)))
    if rng.random() < 0.8:
        letter = "L" if scene.view != "LATERAL" else "LAT"
        cv2.putText(
            film,
            letter,
            (place[0] - 8 * (len(letter) - 1), place[1]),
            cv2.FONT_HERSHEY_SIMPLEX,
            rows / 500,
            250,
            max(1, rows // 220),
            cv2.LINE_AA,
        )
