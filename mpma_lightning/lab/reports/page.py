"""One self-contained HTML page: tables, curves of all runs, and each run's settings and pictures."""

import base64
import html
import re
from collections.abc import Sequence

from mpma_lightning.lab.reports.curves import COLOURS, Curve, chart, read_curves
from mpma_lightning.lab.reports.rows import Run
from mpma_lightning.lab.reports.tables import Table
from mpma_lightning.lab.reports.writers import COST, LEGEND, cost, figure, notes

SHOWN = 8
"""Curves of a stage and of a run."""
LARGEST = 2 * 2**20
"""Bytes of pictures of one run that are put into the page; only the first run of a method has them there."""
_CURVE = re.compile(r"train/loss|val/(?!chance)(loss|.*(auroc|accuracy|_r10|_loss|gap|dice|map))")
STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:.6rem 0;font-variant-numeric:tabular-nums}
td,th{padding:.25rem .6rem;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}
td:first-child,th:first-child{text-align:left}
.scroll{overflow-x:auto}tr.quoted{color:#777;font-style:italic}
small,.note{color:#555;font-size:13px}svg{margin:.3rem;border:1px solid #eee}svg text{font-size:10px;fill:#444}
details{margin:.3rem 0}summary{cursor:pointer}img{max-width:100%;display:block;margin:.4rem 0}
pre{background:#f5f5f5;padding:.5rem;overflow-x:auto;font-size:12px}.key{margin-right:1rem;white-space:nowrap}
.swatch{display:inline-block;width:.8em;height:.8em;margin-right:.3em}
"""


def page(title: str, tables: Sequence[Table], runs: Sequence[Run], remarks: Sequence[str]) -> str:
    """The whole file; nothing in it is fetched from elsewhere."""
    blocks = [f"<h1>{_text(title)}</h1>", f'<p class="note">{_text(LEGEND)}</p>']
    for table in tables:
        blocks += _stage(table, [run for run in runs if run.stage == table.stage])
    if remarks:
        blocks.append("<h2>Left out</h2><ul>" + "".join(f"<li>{_text(remark)}</li>" for remark in remarks) + "</ul>")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head><body>{''.join(blocks)}</body></html>\n"
    )


def _stage(table: Table, runs: Sequence[Run]) -> list[str]:
    place = ", ".join(filter(None, (table.protocol, table.data)))
    blocks = [f"<h2>{_text(table.stage)} <small>{_text(place)}</small></h2>"]
    if table.cells:
        blocks.append(_table(table))
    blocks += [f'<p class="note">{_text(note)}</p>' for note in notes(table)]
    if table.missing:
        commands = _text("\n".join(command for _, command in table.missing))
        blocks.append(
            f"<details><summary>{len(table.missing)} runs are missing</summary><pre>{commands}</pre></details>"
        )
    curves = [(run, read_curves(run.folder)) for run in runs]
    blocks.append(_overview(curves))
    shown = {run.method: run for run in reversed(runs)}
    blocks += [_run(run, own, _pictures(run, LARGEST if shown[run.method] is run else 0)) for run, own in curves]
    return blocks


def _table(table: Table) -> str:
    head = "".join(
        f"<th>{_text(word)}</th>" for word in ["", *(c.title for c in table.columns), "seeds", *COST.values()]
    )
    lines = []
    for method, cells in table.cells.items():
        words = []
        for column in table.columns:
            cell = cells[column.title]
            text = _text(figure(cell, column))
            tip = ""
            if cell.against_best:
                gap = cell.against_best
                tip = f' title="{gap.value:+.3g} [{gap.low:+.3g}, {gap.high:+.3g}] beside the best, p = {gap.p:.3g}"'
            words.append(f"<td{tip}>{f'<b>{text}</b>' if cell.best else text}</td>")
        rest = "".join(f"<td>{word}</td>" for word in [str(table.seeds.get(method, "")), *cost(table, method)])
        quoted = ' class="quoted"' if method in table.quoted else ""
        lines.append(f"<tr{quoted}><td>{_text(method)}</td>{''.join(words)}{rest}</tr>")
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _overview(curves: Sequence[tuple[Run, dict[str, Curve]]]) -> str:
    """A chart a tag: every run a line in the colour of its method."""
    methods = list(dict.fromkeys(run.method for run, _ in curves))
    colour = {method: COLOURS[i % len(COLOURS)] for i, method in enumerate(methods)}
    tags = list(dict.fromkeys(tag for _, own in curves for tag in _drawn(own)))
    charts = [
        chart(
            tag,
            {f"{r.method}, seed {r.seed} {r.label}": (colour[r.method], own[tag]) for r, own in curves if tag in own},
        )
        for tag in _first(tags)
    ]
    if not charts:
        return ""
    keys = "".join(
        f'<span class="key"><span class="swatch" style="background:{colour[m]}"></span>{_text(m)}</span>'
        for m in methods
    )
    return f"<p>{keys}</p>{''.join(charts)}"


def _run(run: Run, curves: dict[str, Curve], pictures: str) -> str:
    row = run.row
    facts = {
        "folder": run.folder,
        "config": row["config_sha256"],
        "code": row.get("commit") or row.get("version"),
        "data": row.get("manifest_hash"),
        "checkpoint": row.get("checkpoint_sha256"),
        "weights": row.get("weights_sha256"),
    }
    charts = "".join(chart(tag, {tag: (COLOURS[0], curves[tag])}) for tag in _first(_drawn(curves)))
    lines = "\n".join(f"{name:<11}{value}" for name, value in facts.items() if value)
    name = f"{run.method}, seed {run.seed} {run.label}"
    return f"<details><summary>{_text(name)}</summary><pre>{_text(lines)}</pre>{charts}{pictures}</details>"


def _pictures(run: Run, left: int) -> str:
    """At most ``left`` bytes of pictures, and where more are."""
    blocks = []
    for path in sorted((run.folder / "pictures").glob("*.png")):
        content = path.read_bytes()
        left -= len(content)
        if left < 0:
            blocks.append(f"<p>more pictures in {_text(str(path.parent))}</p>")
            break
        source = base64.b64encode(content).decode()
        blocks.append(f'<img alt="{_text(path.stem)}" src="data:image/png;base64,{source}">')
    return "".join(blocks)


def _drawn(curves: dict[str, Curve]) -> list[str]:
    """Tags worth a chart: of more than a point, which the table has."""
    return [tag for tag, curve in curves.items() if len(curve) > 1 and _CURVE.fullmatch(tag)]


def _first(tags: Sequence[str]) -> list[str]:
    """Whole losses before their parts, at most SHOWN."""
    return sorted(tags, key=lambda tag: (tag not in ("train/loss", "val/loss"), tag.endswith("_loss")))[:SHOWN]


def _text(value: object) -> str:
    return html.escape(str(value))
