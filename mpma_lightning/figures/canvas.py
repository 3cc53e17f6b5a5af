"""Shared by the figures: grid of axes, colours, gray images, maps and boxes."""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

RIGHT, WRONG, PLAIN = "#1a7f37", "#cf222e", "#57606a"
TRUTH, FOUND = "#2da44e", "#fb8500"


def canvas(rows: int, columns: int, width: float = 2.2, height: float = 2.3) -> tuple[Figure, np.ndarray]:
    """A figure with ``rows`` x ``columns`` axes of the given size in inches, their frames hidden."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    return figure, axes


def gray(image: Tensor) -> np.ndarray:
    """(C, H, W) image to its (H, W) mean over channels."""
    return image.detach().float().mean(0).cpu().numpy()


def enlarged(heat: Tensor, size: tuple[int, ...]) -> np.ndarray:
    """A map (H', W') resized bilinearly to ``size`` = (H, W)."""
    return torch.nn.functional.interpolate(heat[None, None].float(), size, mode="bilinear")[0, 0].cpu().numpy()


def show(ax: Axes, image: Tensor, heat: Tensor | None = None, alpha: float = 0.5) -> None:
    """Draw an image (C, H, W) in gray, and over it a map (H', W') of opacity ``alpha``."""
    ax.imshow(gray(image), cmap="gray")
    if heat is not None:
        ax.imshow(enlarged(heat, image.shape[-2:]), cmap="inferno", alpha=alpha)


def rectangle(ax: Axes, corners: list[float], colour: str, text: str) -> None:
    """Draw a box x1, y1, x2, y2 with ``text`` above it."""
    x1, y1, x2, y2 = corners
    ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=1.2))
    ax.text(x1, max(y1 - 2, 4), text, color=colour, fontsize=6)
