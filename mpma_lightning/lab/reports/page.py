"""One self-contained HTML page: tables, curves of all runs, and each run's settings and pictures."""

import base64
import html
import io
from collections.abc import Sequence

import numpy as np

from mpma_lightning.lab.events import Curve, read_curves
from mpma_lightning.lab.records import is_inside
from mpma_lightning.lab.reports.runs import Run
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
STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:.6rem 0;font-variant-numeric:tabular-nums}
td,th{padding:.25rem .6rem;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}
tbody th{text-align:left;font-weight:normal}.scroll{overflow-x:auto}
small,.note{color:#555;font-size:13px}.warning{border:2px solid #b00;padding:.5rem}
details{margin:.3rem 0}summary{cursor:pointer}img{max-width:100%;display:block;margin:.4rem 0}
pre{background:#f5f5f5;padding:.5rem;overflow-x:auto;font-size:12px}
"""


def page(
    title: str, tables: Sequence[Table], runs: Sequence[Run], remarks: Sequence[str], pictures: bool = True
) -> str:
    """The whole file; nothing in it is fetched from elsewhere.

    Args:
        title: of the page.
        tables, runs, remarks: what it shows.
        pictures: whether the pictures of the runs are put into it. The page says so where they may be of patients.
    """
    blocks = [f'<p class="note">{_text(LEGEND)}</p>']
    for table in tables:
        blocks += _stage(table, [run for run in runs if run.stage == table.stage], pictures)
    if remarks:
        blocks.append("<h2>Remarks</h2><ul>" + "".join(f"<li>{_text(remark)}</li>" for remark in remarks) + "</ul>")
    if holds_patients(runs) and pictures:
        blocks.insert(0, f'<p class="warning">{_text(PATIENTS)}</p>')
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head><body><h1>{_text(title)}</h1>"
        f"{''.join(blocks)}</body></html>\n"
    )


def holds_patients(runs: Sequence[Run]) -> bool:
    """Whether a run that is not known to be of the phantom has pictures."""
    return any(run.record.get("phantom") is not True and any((run.folder / "pictures").glob("*.png")) for run in runs)


def _stage(table: Table, runs: Sequence[Run], pictures: bool) -> list[str]:
    place = ", ".join(filter(None, (table.protocol, table.data)))
    blocks = [f"<h2>{_text(table.stage)} <small>{_text(place)}</small></h2>"]
    if table.cells:
        made = frame(table, _text, "<b>{}</b>").to_html(escape=False, border=0)
        blocks.append(f'<div class="scroll">{made}</div>')
    blocks += [f'<p class="note">{_text(note)}</p>' for note in notes(table)]
    if table.missing:
        commands = _text("\n".join(command for _, command in table.missing))
        blocks.append(
            f"<details><summary>{len(table.missing)} runs are missing</summary><pre>{commands}</pre></details>"
        )
    blocks.append(_curves(table, runs))
    first = {run.method: run for run in reversed(runs)}
    blocks += [_run(run, LARGEST if pictures and first[run.method] is run else 0) for run in runs]
    return blocks


def _curves(table: Table, runs: Sequence[Run]) -> str:
    """A chart a tag (the losses and the headline metrics): every run a line in the colour of its method."""
    own = [(run, read_curves(run.folder)) for run in runs]
    tags = ["train/loss", "val/loss", *dict.fromkeys(f"val/{column.metric.name}" for column in table.columns)]
    tags = [tag for tag in tags if any(len(curves.get(tag, ())) > 1 for _, curves in own)][:SHOWN]
    if not tags:
        return ""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    methods = list(dict.fromkeys(run.method for run in runs))
    figure = Figure(figsize=(10, 2.4 * -(-len(tags) // 3) + 0.3), layout="constrained")
    axes = figure.subplots(-(-len(tags) // 3), 3, squeeze=False).flat
    for tag, axis in zip(tags, axes, strict=False):
        for run, curves in own:
            steps, values = _finite(curves.get(tag, []))
            axis.plot(
                steps, values, color=f"C{methods.index(run.method) % 10}", linewidth=1, marker="." * (len(steps) == 1)
            )
        axis.set_title(_unmarked(tag), fontsize=9)
        axis.tick_params(labelsize=7)
    for axis in list(axes)[len(tags) :]:
        axis.set_axis_off()
    lines = [axis for i, _ in enumerate(methods) for axis in figure.axes[0].plot([], [], color=f"C{i % 10}")]
    figure.legend(
        lines, [_unmarked(m) for m in methods], loc="outside lower center", ncols=6, fontsize=8, frameon=False
    )
    out = io.BytesIO()
    with rc_context({"svg.hashsalt": "report"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    source = base64.b64encode(out.getvalue()).decode()
    return f'<img alt="curves of {_text(table.stage)}" src="data:image/svg+xml;base64,{source}">'


def _finite(curve: Curve) -> tuple[list[int], list[float]]:
    """Points that can be drawn; far beyond what single precision holds, none can."""
    kept = [(step, value) for step, value in curve if np.isfinite(value) and abs(value) < 1e30]
    return [step for step, _ in kept], [value for _, value in kept]


def _unmarked(text: str) -> str:
    """``text`` without matplotlib's mark for formulas."""
    return text.replace("$", r"\$")


def _run(run: Run, room: int) -> str:
    record = run.record
    facts = {
        "folder": run.folder,
        "config": record.get("config_sha256"),
        "code": record.get("commit") or record.get("version"),
        "data": record.get("manifest_hash"),
        "checkpoint": record.get("checkpoint_sha256"),
        "weights": record.get("weights_sha256"),
    }
    lines = "\n".join(f"{name:<11}{value}" for name, value in facts.items() if value)
    name = f"{run.method}, seed {run.seed} {run.label}"
    return f"<details><summary>{_text(name)}</summary><pre>{_text(lines)}</pre>{_pictures(run, room)}</details>"


def _pictures(run: Run, room: int) -> str:
    """At most ``room`` bytes of pictures, and where more are. A link out of the run folder is not followed."""
    blocks = []
    for path in sorted((run.folder / "pictures").glob("*.png")):
        if not is_inside(path, run.folder):
            blocks.append(f"<p>{_text(path.name)} is a link out of the run folder; left out</p>")
            continue
        room -= path.stat().st_size
        if room < 0:
            blocks.append(f"<p>more pictures in {_text(path.parent)}</p>")
            break
        content = path.read_bytes()
        if content.startswith(_PNG):
            source = base64.b64encode(content).decode()
            blocks.append(f'<img alt="{_text(path.stem)}" src="data:image/png;base64,{source}">')
    return "".join(blocks)


def _text(value: object) -> str:
    return html.escape(str(value))
