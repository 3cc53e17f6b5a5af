"""Shared by the figures: grid of axes, colours, gray images, maps with their scale, boxes, running text."""

import textwrap
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from torch import Tensor

RIGHT, WRONG, PLAIN = "#0072B2", "#D55E00", "#444444"
"""Blue, orange and dark gray, which the colour-blind tell apart [Okabe and Ito], for text and frames."""
TRUTH, FOUND = "#56B4E9", "#E69F00"
"""Light blue and yellow-orange, for lines on gray images: annotated (solid) and predicted (dashed)."""
TEXT, TITLE = 9, 11
"""Sizes of text in points."""
MAP = "inferno"
CLOSING = (".", ",", ";", ":", ")", "%")
"""Marks that follow a word without a space."""
CHARACTER = 0.602 * TEXT / 72
"""Width in inches of a character of the monospaced font."""
LINE = 1.45 * TEXT / 72
"""Height in inches of a line of text."""


def canvas(
    rows: int, columns: int, width: float = 2.2, height: float = 2.3, widths: Sequence[float] = ()
) -> tuple[Figure, np.ndarray]:
    """A figure with ``rows`` x ``columns`` axes, their frames hidden.

    Args:
        rows, columns: of the grid.
        width, height: of each cell in inches.
        widths: (columns,) of the cells of each column, in place of ``width``.
    """
    each = list(widths) or [width] * columns
    figure = Figure(figsize=(sum(each), height * rows), layout=ConstrainedLayoutEngine(h_pad=0.07))
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"width_ratios": each})
    for ax in axes.flat:
        ax.set_axis_off()
    return figure, axes


def headline(figure: Figure, *lines: str) -> None:
    """What a figure shows, above it; long lines are wrapped to its width."""
    longest = int(figure.get_figwidth() / (0.55 * TITLE / 72))
    figure.suptitle("\n".join(textwrap.fill(line, longest) for line in lines), fontsize=TITLE)


def gray(image: Tensor) -> np.ndarray:
    """(C, H, W) image to its (H, W) mean over channels."""
    return image.detach().float().mean(0).cpu().numpy()


def enlarged(heat: Tensor, size: tuple[int, ...]) -> np.ndarray:
    """A map (H', W') resized bilinearly to ``size`` = (H, W)."""
    return torch.nn.functional.interpolate(heat[None, None].float(), size, mode="bilinear")[0, 0].cpu().numpy()


def show(ax: Axes, image: Tensor, heat: Tensor | None = None, scale: Normalize | None = None) -> None:
    """Draw an image (C, H, W) in gray, and over it a map (H', W') in the colours of ``scale`` (default: its own)."""
    ax.imshow(gray(image), cmap="gray")
    if heat is not None:
        ax.imshow(enlarged(heat, image.shape[-2:]), cmap=MAP, alpha=0.5, norm=scale)


def scale_of(values: Tensor | np.ndarray) -> Normalize:
    """From the least to the largest of ``values``."""
    return Normalize(float(values.min()), float(values.max()))


def scale_bar(figure: Figure, axes: np.ndarray | Sequence[Axes], scale: Normalize, label: str) -> None:
    """The scale of maps drawn by :func:`show`, to the right of ``axes``."""
    shown = ScalarMappable(scale, MAP)
    bar = figure.colorbar(shown, ax=np.asarray(axes).ravel().tolist(), shrink=0.8, aspect=30, pad=0.01)
    bar.set_label(label, fontsize=TEXT)
    bar.ax.tick_params(labelsize=TEXT)


def rectangle(ax: Axes, corners: list[float], colour: str, text: str = "") -> None:
    """Draw a box x1, y1, x2, y2 with ``text`` above it; where it is ``FOUND``, dashed with ``text`` below it."""
    x1, y1, x2, y2 = corners
    line, edge, va = ("--", y2, "top") if colour == FOUND else ("-", y1, "bottom")
    x, ha = (x1, "left") if x1 + x2 < sum(ax.get_xlim()) else (x2, "right")
    ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=1.6, linestyle=line))
    if text:
        dark = {"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 1}
        ax.text(x, edge, text, color=colour, fontsize=TEXT - 1, ha=ha, va=va, bbox=dark, clip_on=True)


def frame(ax: Axes, colour: str, width: float = 2.5) -> None:
    """Draw the frame of an axes, without ticks."""
    ax.set_axis_on()
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(color=colour, linewidth=width)


def legend_of_annotations(figure: Figure) -> None:
    """Below the figure: which line is annotated and which predicted."""
    lines = [Line2D([], [], color=TRUTH, lw=2), Line2D([], [], color=FOUND, lw=2, linestyle="--")]
    figure.legend(lines, ["annotated", "predicted"], loc="outside lower center", ncols=2, fontsize=TEXT, frameon=False)


def write(ax: Axes, words: Iterable[tuple[str, str]], inches: float, lines: int) -> None:
    """Running text from the top left, wrapped at ``inches``, ended by … where more than ``lines`` are needed.

    Args:
        ax: of ``inches`` width and ``lines`` x ``LINE`` height.
        words: each with its colour; words that are not ``PLAIN`` are bold.
        inches: width of a line.
        lines: that fit.
    """
    longest = int(inches / CHARACTER)
    ax.set(xlim=(0, longest), ylim=(lines, 0))
    column = line = 0
    for text, colour in words:
        column -= column > 0 and text in CLOSING
        last = line == lines - 1
        if column and column + len(text) > longest - 2 * last:
            if last:
                ax.text(column, line, "…", fontsize=TEXT, family="monospace", va="top")
                return
            column, line = 0, line + 1
        weight = "normal" if colour == PLAIN else "bold"
        ax.text(column, line, text, color=colour, fontsize=TEXT, family="monospace", weight=weight, va="top")
        column += len(text) + 1


def shortened(text: str, width: int, lines: int) -> str:
    """``text`` wrapped to ``lines`` of ``width`` characters, ended by … where it is longer."""
    return "\n".join(textwrap.wrap(text, width, max_lines=lines, placeholder=" …"))
