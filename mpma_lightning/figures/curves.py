"""Curves of several runs, and of several methods by their share of labels."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from mpma_lightning.figures.canvas import MARKS, SERIES, STROKES, canvas, headline
from mpma_lightning.figures.sheet import is_single, sheet

Curve = Sequence[tuple[float, float]]


def training_curves(series: Mapping[str, Curve], measured: str) -> Figure:
    """A line a run, over its steps.

    Args:
        series: (step, value) by the name of the run; at most seven.
        measured: what the values are.
    """
    figure, ax = _axes("step", measured)
    for (name, curve), colour, stroke, mark in zip(series.items(), SERIES, STROKES, MARKS, strict=False):
        steps, values = zip(*curve, strict=True)
        few = mark if len(curve) < 12 else ""
        ax.plot(steps, values, color=colour, linestyle=stroke, marker=few, markersize=3, linewidth=1.3, label=name)
    _legend(figure, ax)
    headline(figure, f"{measured} of {len(series)} run{'s' * (len(series) != 1)}")
    return figure


def label_efficiency(series: Mapping[str, Mapping[float, Sequence[float]]], measured: str) -> Figure:
    """A line a method over its share of the training labels: mean and standard deviation of the seeds.

    Args:
        series: by method and share, the value of each seed; at most seven methods.
        measured: what the values are.
    """
    figure, ax = _axes("labelled training studies", measured)
    shares = sorted({share for values in series.values() for share in values})
    for (name, values), colour, stroke, mark in zip(series.items(), SERIES, STROKES, MARKS, strict=False):
        at = sorted(values)
        means = [float(np.mean(values[share])) for share in at]
        spread = [float(np.std(values[share], ddof=1)) if len(values[share]) > 1 else 0.0 for share in at]
        ax.errorbar(
            at, means, spread, color=colour, linestyle=stroke, marker=mark, markersize=4, linewidth=1.3, capsize=2,
            label=name,
        )  # fmt: skip
    ax.set_xscale("log")
    ax.set_xticks(shares)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_minor_locator(NullLocator())
    _legend(figure, ax)
    seeds = sorted({len(own) for values in series.values() for own in values.values()})
    counts = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    headline(figure, f"{measured} by the share of labelled training studies",
             f"mean of {counts} seed{'s' * (seeds[-1] != 1)}; bars: their standard deviation")  # fmt: skip
    return figure


def _axes(across: str, up: str) -> tuple[Figure, Axes]:
    figure, axes = canvas(1, 1, 6.2, 4.4 if not is_single() else 5.4, square=4.0)
    ax: Axes = axes[0, 0]
    ax.set_axis_on()
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.set_xlabel(across, fontsize=sheet().text + 1)
    ax.set_ylabel(up, fontsize=sheet().text + 1)
    ax.tick_params(labelsize=sheet().text)
    return figure, ax


def _legend(figure: Figure, ax: Axes) -> None:
    names = ax.get_legend_handles_labels()[1]
    columns = 1 if is_single() or max(map(len, names)) > 40 else 2
    figure.legend(loc="outside lower center", ncols=columns, fontsize=sheet().text, frameon=False, handlelength=3)
