"""A patient's normal anatomy as numbers, and the layers of a film (air, bone, vessels, ...) that findings change."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from data_modules.phantom.canvas import Canvas, Mask, Points, Pose

SIGN = {"left": 1.0, "right": -1.0}  # the patient's left is on the image's right
View = Literal["PA", "AP", "LATERAL"]


@dataclass(frozen=True)
class Anatomy:
    """One patient; lengths in body units (the film spans about -1..1)."""

    female: bool
    age: int
    thorax: float  # half width of the rib cage
    apex: float  # y of the lung apex
    dome: dict[str, float]  # y of each hemidiaphragm
    cardiothoracic: float  # heart width over thoracic width
    mediastinum: float  # half width of the upper mediastinum
    knob: float  # how far the aortic knob stands out
    fat: float  # thickness of the chest wall
    breast: float
    rib_slope: float
    rib_step: float
    scoliosis: float
    vessels: int
    clarity: float  # how dark aerated lung is

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Anatomy":
        """Draw a patient."""
        female = bool(rng.random() < 0.5)
        right = rng.uniform(0.36, 0.54)
        return cls(
            female=female,
            age=int(rng.integers(20, 90)),
            thorax=rng.uniform(0.60, 0.74),
            apex=rng.uniform(-0.80, -0.66),
            dome={"right": right, "left": right + rng.uniform(0.0, 0.09)},
            cardiothoracic=rng.uniform(0.38, 0.49),
            mediastinum=rng.uniform(0.10, 0.155),
            knob=rng.uniform(0.01, 0.07),
            fat=rng.uniform(0.04, 0.18),
            breast=rng.uniform(0.05, 0.16) if female else rng.uniform(0.0, 0.04),
            rib_slope=rng.uniform(0.12, 0.30),
            rib_step=rng.uniform(0.125, 0.15),
            scoliosis=rng.uniform(-0.03, 0.03),
            vessels=int(rng.integers(9, 16)),
            clarity=rng.uniform(0.34, 0.44),
        )

    def wall(self, y: float) -> float:
        """Half width of the inside of the rib cage at height y."""
        return self.thorax * (1 - 0.52 * float(np.clip((-0.05 - y) / (-0.05 - self.apex), 0, 1.15)) ** 2.2)


@dataclass
class Rib:
    """One posterior rib: its number and its path from the spine to the chest wall."""

    side: str
    number: int
    path: Points


@dataclass
class Scene:
    """The layers of one film before exposure. Findings change the layers; `exposure` turns them into pixels."""

    canvas: Canvas
    view: View
    anatomy: Anatomy
    body: Mask
    lung: dict[str, Mask]  # by side; a lateral film has the one key "lung"
    air: Mask
    heart: Mask
    mediastinum: Mask
    vessels: Mask
    hila: dict[str, tuple[float, float]]
    bone: Mask
    ribs: list[Rib] = field(default_factory=list)
    lines: Mask = field(init=False)  # thin dense lines that no vessel makes: pleura, septa
    metal: Mask = field(init=False)
    taken: Mask = field(init=False)  # where another finding would hide a new one

    def __post_init__(self) -> None:
        self.lines = self.canvas.zeros()
        self.metal = self.canvas.zeros()
        self.taken = self.canvas.zeros()


def sample_pose(rng: np.random.Generator, hard: bool) -> Pose:
    """How well the patient was positioned."""
    wide = 1.5 if hard else 1.0
    shift = rng.uniform(-0.10, 0.10, 2) * wide
    scale = 1.06 * np.exp(rng.uniform(-0.11, 0.08) * wide)
    return Pose((float(shift[0]), float(shift[1])), float(scale), float(rng.uniform(-5, 5) * wide))


def vessel_tree(
    rng: np.random.Generator, hilum: tuple[float, float], reach: tuple[float, float], count: int, facing: float
) -> list[list[Points]]:
    """Branching vessel paths from a hilum, as three lists of falling width; facing is -1, 1 or 0 (both)."""
    start = -1.35 + 2.7 * (np.arange(count) + rng.random(count)) / count
    angle = start[:, None] + np.cumsum(rng.normal(0, 0.14, (count, 9)), 1)
    direction = np.full((count, 1), facing) if facing else np.where(rng.random((count, 1)) < 0.5, -1.0, 1.0)
    step = np.stack([direction * np.cos(angle), np.sin(angle)], -1) * reach / 9
    trail = np.array(hilum) + np.concatenate([np.zeros((count, 1, 2)), np.cumsum(step, 1)], 1)
    twigs = []
    for k in (4, 6):
        turn = angle[:, k] + np.where(rng.random(count) < 0.5, -0.6, 0.6)
        tip = trail[:, k] + 0.3 * np.stack([direction[:, 0] * np.cos(turn), np.sin(turn)], 1) * reach
        twigs += list(np.stack([trail[:, k], tip], 1))
    return [list(trail[:, :4]), list(trail[:, 3:7]), list(trail[:, 6:]) + twigs]


def draw_vessels(canvas: Canvas, layers: list[list[Points]]) -> Mask:
    """Paint a vessel tree, thick near the hilum."""
    film = canvas.zeros()
    for paths, width, weight in zip(layers, (0.034, 0.022, 0.013), (1.0, 0.8, 0.6), strict=True):
        film = np.maximum(film, weight * canvas.stroke(paths, width, 0.006))
    return film.astype(np.float32)
