"""One self-contained HTML page: tables, curves of all runs, and each run's settings and pictures."""

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.colors import to_hex
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
        warning=PATIENTS if pictures and holds_patients(found.runs) else "",
        legend=LEGEND,
        stages=[_stage(table, found.of(table.stage), pictures) for table in tables],
        remarks=found.remarks,
    )


def holds_patients(runs: Sequence[Run]) -> bool:
    """Whether a run that is not known to be of the phantom has pictures."""
    return any(run.record.phantom is not True and any((run.folder / "pictures").glob("*.png")) for run in runs)


def _stage(table: Table, runs: Sequence[Run], pictures: bool) -> tuple:
    """What the template shows of a stage."""
    first = {run.method: run for run in reversed(runs)}
    shown = [(run, list(_pictures(run, LARGEST if pictures and first[run.method] is run else 0))) for run in runs]
    return table, frame(table, bold=Markup("<b>{}</b>").format), notes(table), *_curves(table, runs), shown


def _curves(table: Table, runs: Sequence[Run]) -> tuple[dict[str, str], dict[str, str]]:
    """A chart a tag (the losses and the headline metrics), every run a line in the colour of its method; and these."""
    own = [(run, read_curves(run.folder)) for run in runs]
    tags = ["train/loss", "val/loss", *dict.fromkeys(f"val/{column.metric.name}" for column in table.columns)]
    tags = [tag for tag in tags if any(len(curves.get(tag, ())) > 1 for _, curves in own)][:SHOWN]
    colours = {method: to_hex(f"C{i % 10}") for i, method in enumerate(table.costs.index)}
    return {tag: _chart(tag, own, colours) for tag in tags}, colours if tags else {}


def _chart(tag: str, own: Sequence[tuple[Run, dict[str, Curve]]], colours: dict[str, str]) -> str:
    figure = Figure(figsize=(4, 2.4), layout="constrained")
    axis = figure.subplots()
    for run, curves in own:
        steps, values = _finite(curves.get(tag, []))
        axis.plot(steps, values, color=colours[run.method], linewidth=1, marker="." * (len(steps) == 1))
    axis.set_title(tag.replace("$", r"\$"), fontsize=9)
    axis.tick_params(labelsize=7)
    out = io.BytesIO()
    with rc_context({"svg.hashsalt": "report"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return _source("svg+xml", out.getvalue())


def _finite(curve: Curve) -> tuple[list[int], list[float]]:
    """Points that can be drawn; far beyond what single precision holds, none can."""
    kept = [(step, value) for step, value in curve if np.isfinite(value) and abs(value) < 1e30]
    return [step for step, _ in kept], [value for _, value in kept]


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
