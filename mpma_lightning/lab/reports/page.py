"""One self-contained HTML page: tables, curves of all runs, and each run's settings and pictures."""

import base64
import io
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from mpma_lightning.lab.events import Curve, read_curves
from mpma_lightning.lab.records import is_inside
from mpma_lightning.lab.reports.runs import Found, Run
from mpma_lightning.lab.reports.tables import Table
from mpma_lightning.lab.reports.writers import LEGEND, frame, notes

SHOWN = 8
"""Charts of a stage."""
LARGEST = 2 * 2**20
"""Bytes of pictures of one run that are put into the page; only the first run of a method has them there."""
PATIENTS = (
    "This page holds pictures of patients: keep it where the images may be kept. `--no-pictures` leaves them out."
)
_PNG = b"\x89PNG\r\n\x1a\n"
_TEMPLATE = Path(__file__).with_name("page.html")


def page(title: str, tables: Sequence[Table], found: Found, pictures: bool = True) -> str:
    """The whole file; nothing in it is fetched from elsewhere, and every text from a file is escaped.

    Args:
        title: of the page.
        tables: of the runs in ``found``.
        found: runs and remarks.
        pictures: whether the pictures of the runs are put into it. The page says so where they may be of patients.
    """
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(
        _TEMPLATE.read_text(encoding="utf-8")
    )
    return template.render(
        title=title,
        made=time.strftime("%Y-%m-%d %H:%M"),
        runs=len(found.runs),
        codes=sorted({_code(run) for run in found.runs} - {""}),
        warning=PATIENTS if pictures and holds_patients(found.runs) else "",
        legend=LEGEND,
        stages=[_stage(table, found.of(table.stage), pictures) for table in tables],
        remarks=found.remarks,
    )


def holds_patients(runs: Sequence[Run]) -> bool:
    """Whether a run that is not known to be of the phantom has pictures."""
    return any(run.record.phantom is not True and any((run.folder / "pictures").glob("*.png")) for run in runs)


def _code(run: Run) -> str:
    """Commit, which may end with ``-dirty``, or version."""
    return re.sub(r"^([0-9a-f]{9})[0-9a-f]{31}", r"\1", run.record.commit or run.record.version or "")


def _stage(table: Table, runs: Sequence[Run], pictures: bool) -> tuple:
    """What the template shows of a stage."""
    first = {run.method: run for run in reversed(runs)}
    shown = [(run, list(_pictures(run, LARGEST if pictures and first[run.method] is run else 0))) for run in runs]
    made = frame(table, escape, Markup("<b>{}</b>").format, Markup("<small>{}</small>").format)
    return table, made, notes(table), *_charts(table, runs), shown


def _charts(table: Table, runs: Sequence[Run]) -> tuple[dict[str, str], dict[str, list[tuple[str, str]]]]:
    """By its title a chart of the losses and of each metric, every run a line; by method the colours of its runs."""
    own = [(run, read_curves(run.folder)) for run in runs]
    scales = {"train/loss": ("loss, training", 1.0), "val/loss": ("loss, validation", 1.0)}
    scales |= {f"val/{c.metric.name}": (f"{c.heading}, validation", c.scale) for c in table.columns}
    drawn = {tag: of for tag, of in scales.items() if any(len(curves.get(tag, ())) > 1 for _, curves in own)}
    colours = _colours(table, runs)
    charts = {title: _chart(title, scale, [(colours[run.method, run.label, run.seed], _finite(curves.get(tag, [])))
              for run, curves in own]) for tag, (title, scale) in list(drawn.items())[:SHOWN]}  # fmt: skip
    keys = defaultdict(list)
    for (method, label, seed), colour in colours.items():
        keys[method].append((" ".join(filter(None, (label, f"seed {seed}"))), colour))
    return charts, keys if charts else {}


def _colours(table: Table, runs: Sequence[Run]) -> dict[tuple[str, str, int], str]:
    """A hue a method, and a shade of it a run, the darkest first."""
    colours = {}
    for i, method in enumerate(table.costs.index):
        places = sorted({(run.label, run.seed) for run in runs if run.method == method})
        for (label, seed), pale in zip(places, np.linspace(0, 0.7, len(places) + 1), strict=False):
            colours[method, label, seed] = to_hex(np.array(to_rgb(f"C{i % 10}")) * (1 - pale) + pale)
    return colours


def _chart(title: str, scale: float, lines: Sequence[tuple[str, Curve]]) -> str:
    figure = Figure(figsize=(4, 2.6), layout="constrained")
    axis = figure.subplots()
    for colour, curve in lines:
        steps, values = [step for step, _ in curve], [scale * value for _, value in curve]
        axis.plot(steps, values, color=colour, linewidth=1.2, marker="." * (len(steps) < 20), markersize=4)
    axis.set_title(title.replace("$", r"\$"), fontsize=9, loc="left")
    axis.set_xlabel("optimiser steps", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    out = io.BytesIO()
    with rc_context({"svg.hashsalt": "report"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return _source("svg+xml", out.getvalue())


def _finite(curve: Curve) -> Curve:
    """Points that can be drawn; far beyond what single precision holds, none can."""
    return [(step, value) for step, value in curve if np.isfinite(value) and abs(value) < 1e30]


def _pictures(run: Run, room: int) -> Iterator[tuple[str, str]]:
    """Name and source of at most ``room`` bytes of pictures; without a source, what is left out: links out of the run
    folder are not followed.
    """
    for path in sorted((run.folder / "pictures").glob("*.png")):
        if not is_inside(path, run.folder):
            yield f"{path.name} is a link out of the run folder; left out", ""
            continue
        room -= path.stat().st_size
        if room < 0:
            yield f"more pictures in {path.parent}", ""
            return
        if (content := path.read_bytes()).startswith(_PNG):
            yield path.stem, _source("png", content)


def _source(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
