"""Tables as Markdown, CSV and LaTeX."""

import csv
import io
from collections.abc import Sequence

from mpma_lightning.lab.reports.tables import Cell, Column, Table

COST = {"seconds": "min a run", "samples/s": "samples/s", "MiB": "peak MiB"}
LEGEND = (
    "Mean ± standard deviation over seeds, of a single probe over the seeds of its heads; in brackets the mean of the "
    "runs' 95 % bootstrap intervals. Bold: the best mean of a column. =: not told apart from the best on the same "
    "samples (paired bootstrap, p > 0.05)."
)


def figure(cell: Cell, column: Column) -> str:
    """``89.1 ± 0.4 [88.0, 90.2]``; empty without a value."""
    if not cell.values:
        return ""
    digits = 1 if column.rate else 3
    text = f"{cell.mean:.{digits}f}" + (f" ± {cell.sd:.{digits}f}" if cell.sd is not None else "")
    text += f" [{cell.interval[0]:.{digits}f}, {cell.interval[1]:.{digits}f}]" if cell.interval else ""
    return text + (" =" if cell.against_best and cell.against_best.p > 0.05 else "")


def cost(table: Table, method: str) -> list[str]:
    """Minutes, samples a second and memory, means over the runs."""
    own = table.cost.get(method)
    return [f"{own['seconds'] / 60:.1f}", f"{own['samples/s']:.0f}", f"{own['MiB']:.0f}"] if own else ["", "", ""]


def notes(table: Table) -> list[str]:
    """What the seeds could show, where rows are quoted from, and what fills the missing cells."""
    lines = []
    if shown := [f"{c.title} {c.detectable:.2g}" for c in table.columns if c.detectable is not None]:
        seeds = min(n for n in table.seeds.values() if n > 1)
        lines.append(
            f"With {seeds} seeds a two-sided t test (5 %, power 80 %, pooled deviation) finds differences of: "
            f"{', '.join(shown)}."
        )
    spread = {method for method, cells in table.cells.items() if any(cell.sd is not None for cell in cells.values())}
    if single := [method for method, count in table.seeds.items() if count == 1 and method not in spread]:
        lines.append(f"One seed only: {', '.join(single)}.")
    if table.quoted:
        lines.append(f"Quoted from publications, same protocol, not run here: {', '.join(table.quoted)}.")
    return lines


def markdown(tables: Sequence[Table], remarks: Sequence[str]) -> str:
    """Everything: tables, notes, missing cells, remarks."""
    blocks = [LEGEND]
    for table in tables:
        blocks.append(f"## {_title(table)}")
        if table.cells:
            head = ["", *(c.title for c in table.columns), "seeds", *COST.values()]
            lines = [_line(head), _line(["---", *("---:" for _ in head[1:])])]
            for method, cells in table.cells.items():
                figures = [
                    f"**{figure(cells[c.title], c)}**" if cells[c.title].best else figure(cells[c.title], c)
                    for c in table.columns
                ]
                lines.append(_line([method, *figures, _seeds(table, method), *cost(table, method)]))
            blocks.append("\n".join(lines))
        blocks += notes(table)
        if table.missing:
            blocks.append(f"{len(table.missing)} runs are missing; these commands fill them:")
            blocks.append("\n".join(["```", *(command for _, command in table.missing), "```"]))
    if remarks:
        blocks.append("## Left out")
        blocks.append("\n".join(f"- {remark}" for remark in remarks))
    return "\n\n".join(blocks) + "\n"


def comma_separated(tables: Sequence[Table]) -> str:
    """One line a method, metric and seed, in long form, for any other tool."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    names = ["stage", "protocol", "data", "method", "metric", "seed", "value", "unit", "quoted", "p_against_best"]
    rows.writerow(names)
    for table in tables:
        for method, cells in table.cells.items():
            for column in table.columns:
                cell = cells[column.title]
                p = f"{cell.against_best.p:.4f}" if cell.against_best else ""
                for seed, value in sorted(cell.values.items()):
                    place = [table.stage, table.protocol, table.data, method, column.title]
                    unit = "%" if column.rate else ""
                    rows.writerow([*place, "" if cell.quoted else seed, f"{value:.6g}", unit, int(cell.quoted), p])
    return out.getvalue()


def latex(tables: Sequence[Table]) -> str:
    """booktabs tables."""
    blocks = [r"% needs \usepackage{booktabs}"]
    for table in tables:
        if not table.cells:
            continue
        lines = [r"\begin{table}", r"\centering", rf"\caption{{{_tex(_title(table))}}}"]
        lines.append(rf"\begin{{tabular}}{{l{'r' * (len(table.columns) + 1)}}}")
        lines += [r"\toprule", _tex_line(["", *(c.title for c in table.columns), "min"]), r"\midrule"]
        for method, cells in table.cells.items():
            words = [_tex(method)]
            for column in table.columns:
                text = _tex(figure(cells[column.title], column))
                words.append(rf"\textbf{{{text}}}" if cells[column.title].best else text)
            lines.append(" & ".join([*words, cost(table, method)[0]]) + r" \\")
        blocks.append("\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]))
    return "\n\n".join(blocks) + "\n"


def _title(table: Table) -> str:
    return f"{table.stage} — {', '.join(filter(None, (table.protocol, table.data)))}"


def _seeds(table: Table, method: str) -> str:
    return str(table.seeds.get(method, ""))


def _line(words: Sequence[str]) -> str:
    return f"| {' | '.join(words)} |"


def _tex_line(words: Sequence[str]) -> str:
    return " & ".join(map(_tex, words)) + r" \\"


def _tex(text: str) -> str:
    for character in "&%_#$":
        text = text.replace(character, f"\\{character}")
    return text.replace("±", r"$\pm$").replace("→", r"$\to$").replace("—", "---")
