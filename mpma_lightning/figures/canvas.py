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

from mpma_lightning.figures.sheet import sheet, shrunk

RIGHT, WRONG, PLAIN = "#0072B2", "#D55E00", "#444444"
"""Blue, orange and dark gray, which the colour-blind tell apart [Okabe and Ito], for text and frames."""
TRUTH, FOUND = "#56B4E9", "#E69F00"
"""Light blue and yellow-orange, for lines on gray images: annotated (solid) and predicted (dashed)."""
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours of curves and groups [Okabe and Ito], in this order; each goes with a mark and a line of its own."""
MARKS = ("o", "s", "^", "D", "v", "P", "X")
STROKES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
MAP = "inferno"
NOTHING = "#BBCCDD"
"""Colour of patches that are not shown: hidden from the model, or without an error."""
CLOSING = (".", ",", ";", ":", ")", "%")
"""Marks that follow a word without a space."""
BASELINE = 0.7
"""Of a line of running text, below its top, in lines."""


def canvas(
    rows: int,
    columns: int,
    width: float = 2.2,
    height: float = 2.3,
    widths: Sequence[float] = (),
    square: float = 0.0,
    lines: int = 0,
) -> tuple[Figure, np.ndarray]:
    """A figure with ``rows`` x ``columns`` axes, their frames hidden.

    Args:
        rows, columns: of the grid.
        width, height: of each cell in inches, on the screen; narrower where the :class:`Sheet` is.
        widths: (columns,) of the cells of each column, in place of ``width``.
        square: the part of ``height`` that images take, which become smaller as the columns do; the rest is text.
        lines: of running text that a cell has at least room for.
    """
    each = list(widths) or [width] * columns
    factor, here = shrunk(each), sheet()
    high = square * factor + (height - square) * here.ratio
    high = max(high, lines * here.line + 0.4 * here.ratio) if lines else high
    each = [factor * one for one in each]
    figure = Figure(figsize=(sum(each), high * rows), layout=ConstrainedLayoutEngine(h_pad=0.07 * here.ratio))
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"width_ratios": each})
    for ax in axes.flat:
        ax.set_axis_off()
    return figure, axes


def headline(figure: Figure, *lines: str) -> None:
    """What a figure shows, above it; long lines are wrapped to its width. It is also the figure's label."""
    figure.set_label("\n".join(lines))
    if sheet().headline:
        longest = int(figure.get_figwidth() / (0.55 * sheet().title / 72))
        figure.suptitle("\n".join(textwrap.fill(line, longest) for line in lines), fontsize=sheet().title)


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
    bar.set_label(label, fontsize=sheet().text)
    bar.ax.tick_params(labelsize=sheet().text)


def rectangle(ax: Axes, corners: list[float], colour: str, text: str = "") -> None:
    """Draw a box x1, y1, x2, y2 with ``text`` above it; where it is ``FOUND``, dashed with ``text`` below it."""
    x1, y1, x2, y2 = corners
    line, edge, va = ("--", y2, "top") if colour == FOUND else ("-", y1, "bottom")
    x, ha = (x1, "left") if x1 + x2 < sum(ax.get_xlim()) else (x2, "right")
    ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=1.6, linestyle=line))
    if text:
        dark = {"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 1}
        ax.text(x, edge, text, color=colour, fontsize=sheet().small, ha=ha, va=va, bbox=dark, clip_on=True)


def frame(ax: Axes, colour: str, width: float = 2.5) -> None:
    """Draw the frame of an axes, without ticks."""
    ax.set_axis_on()
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(color=colour, linewidth=width)


def pointer(ax: Axes, x: int, y: int) -> None:
    """A white cross with a black border."""
    for colour, size, width in (("black", 14, 4.0), ("white", 12, 2.0)):
        ax.plot(x, y, marker="+", color=colour, markersize=size, markeredgewidth=width)


def legend_of_annotations(figure: Figure) -> None:
    """Below the figure: which line is annotated and which predicted."""
    lines = [Line2D([], [], color=TRUTH, lw=2), Line2D([], [], color=FOUND, lw=2, linestyle="--")]
    figure.legend(
        lines, ["annotated", "predicted"], loc="outside lower center", ncols=2, fontsize=sheet().text, frameon=False
    )


def write(ax: Axes, words: Iterable[tuple[str, str]], inches: float, lines: int) -> None:
    """Running text from the top left, wrapped at ``inches``, ended by … where more than ``lines`` are needed.

    Args:
        ax: of ``inches`` width and ``lines`` x ``Sheet.line`` height.
        words: each with its colour; words that are not ``PLAIN`` are bold.
        inches: width of a line.
        lines: that fit.
    """
    longest = int(inches / sheet().character)
    ax.set(xlim=(0, longest), ylim=(lines, 0))
    column = line = 0
    for text, colour in words:
        column -= column > 0 and text in CLOSING
        last = line == lines - 1
        if column and column + len(text) > longest - 2 * last:
            if last:
                ax.text(column, line + BASELINE, "…", fontsize=sheet().text, family="monospace")
                return
            column, line = 0, line + 1
        weight = "normal" if colour == PLAIN else "bold"
        ax.text(column, line + BASELINE, text, color=colour, fontsize=sheet().text, family="monospace", weight=weight)
        column += len(text) + 1


def shortened(text: str, width: int, lines: int) -> str:
    """``text`` wrapped to ``lines`` of ``width`` characters, ended by … where it is longer."""
    return "\n".join(textwrap.wrap(text, width, max_lines=lines, placeholder=" …"))
