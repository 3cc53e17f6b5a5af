"""Tables as Markdown, CSV and LaTeX; names from files never become markup, commands or formulas."""

from collections.abc import Callable, Sequence

import pandas as pd

from mpma_lightning.lab.reports.tables import Cell, Column, Table

COST = {"seconds": "min a run", "samples/s": "samples/s", "MiB": "peak MiB"}
LEGEND = (
    "Mean ± standard deviation over seeds, of a single probe over the seeds of its heads; in brackets the mean of the "
    "runs' 95 % bootstrap intervals. Bold: the best mean of a column. =: not told apart from the best on the same "
    "samples (paired bootstrap, p > 0.05). Shares are in per cent."
)
_TEX = str.maketrans(
    {character: f"\\{character}" for character in "&%_#${}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "→": r"$\to$"}
    | {"—": "---", "<": r"\textless{}", ">": r"\textgreater{}", "\n": " ", "\r": " "}
)
_MARKDOWN = str.maketrans(
    {character: f"\\{character}" for character in "\\`*|"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
)
_AFTER_A_LINE = ("[", "*")
"""What LaTeX would read as an argument of the line end before it."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def shown(cell: Cell, column: Column) -> str:
    """``89.1 ± 0.4 [88.0, 90.2]``; empty without a value."""
    if not cell.values:
        return ""
    digits = column.digits
    text = f"{cell.mean:.{digits}f}" + (f" ± {cell.sd:.{digits}f}" if cell.sd is not None else "")
    text += f" [{cell.interval[0]:.{digits}f}, {cell.interval[1]:.{digits}f}]" if cell.interval else ""
    return text + (" =" if cell.against_best and cell.against_best.p > 0.05 else "")


def frame(table: Table, escape: Callable[[str], str], bold: str) -> pd.DataFrame:
    """A table as texts, escaped; ``bold`` has a ``{}``. A row a method, its columns, seeds and cost."""
    rows = []
    for method, cells in table.cells.items():
        texts = [(escape(shown(cells[c.title], c)), cells[c.title].best) for c in table.columns]
        own = table.cost.get(method)
        cost = [f"{own['seconds'] / 60:.1f}", f"{own['samples/s']:.0f}", f"{own['MiB']:.0f}"] if own else [""] * 3
        seeds = str(table.seeds.get(method, ""))
        rows.append([*(bold.format(text) if best else text for text, best in texts), seeds, *cost])
    titles = [escape(title) for title in [*(c.title for c in table.columns), "seeds", *COST.values()]]
    return pd.DataFrame(rows, index=[escape(method) for method in table.cells], columns=titles)


def notes(table: Table) -> list[str]:
    """What the seeds could show, where values are quoted from, and which methods have one seed."""
    lines = []
    if able := [f"{c.title} {c.detectable:.2g}" for c in table.columns if c.detectable is not None]:
        seeds = min(n for n in table.seeds.values() if n > 1)
        lines.append(
            f"With {seeds} seeds a two-sided t test (5 %, power 80 %, pooled deviation) finds differences of: "
            f"{', '.join(able)}."
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
        blocks.append(f"## {_plain(title(table))}")
        if table.cells:
            made = frame(table, _plain, "**{}**")
            lines = [_line(["", *made.columns]), _line(["---", *("---:" for _ in made.columns)])]
            blocks.append("\n".join([*lines, *(_line(list(row)) for row in made.itertuples())]))
        blocks += map(_plain, notes(table))
        if table.missing:
            blocks.append(f"{len(table.missing)} runs are missing; these commands fill them:")
            blocks.append("\n".join(f"    {' '.join(command.split())}" for _, command in table.missing))
    if remarks:
        blocks.append("## Remarks")
        blocks.append("\n".join(f"- {_plain(remark)}" for remark in remarks))
    return "\n\n".join(blocks) + "\n"


def comma_separated(tables: Sequence[Table]) -> str:
    """One line a method, metric and seed, in long form, for any other tool. No text begins like a formula."""
    names = ["stage", "protocol", "data", "method", "metric", "seed", "value", "unit", "quoted", "p_against_best"]
    rows = []
    for table in tables:
        for method, cells in table.cells.items():
            for column in table.columns:
                cell = cells[column.title]
                p = f"{cell.against_best.p:.4f}" if cell.against_best else ""
                texts = [table.stage, table.protocol, table.data, method, column.title]
                place = [f"'{text}" if text.startswith(_FORMULA) else text for text in texts]
                unit = "%" if column.scale == 100 else ""
                for seed, value in sorted(cell.values.items()):
                    rows.append([*place, "" if cell.quoted else seed, f"{value:.6g}", unit, int(cell.quoted), p])
    return pd.DataFrame(rows, columns=names).to_csv(index=False, lineterminator="\n")


def latex(tables: Sequence[Table]) -> str:
    """booktabs tables."""
    blocks = [r"% needs \usepackage{booktabs}"]
    for table in tables:
        if not table.cells:
            continue
        count = len(table.columns)
        made = frame(table, _tex, r"\textbf{{{}}}").iloc[:, [*range(count), count + 1]]  # of the cost its minutes
        lines = [r"\begin{table}", r"\centering", rf"\caption{{{_tex(title(table))}}}"]
        lines += [rf"\begin{{tabular}}{{l{'r' * len(made.columns)}}}", r"\toprule"]
        lines += [" & ".join(["", *made.columns]) + r" \\", r"\midrule"]
        rows = [" & ".join(row) for row in made.itertuples()]
        lines += [f"{'{}' if row.startswith(_AFTER_A_LINE) else ''}{row} \\\\" for row in rows]
        blocks.append("\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]))
    return "\n\n".join(blocks) + "\n"


def title(table: Table) -> str:
    """Stage, protocol and data."""
    return f"{table.stage} — {', '.join(filter(None, (table.protocol, table.data)))}"


def _line(words: Sequence[str]) -> str:
    return f"| {' | '.join(words)} |"


def _plain(text: str) -> str:
    return " ".join(text.translate(_MARKDOWN).replace("](", "]\\(").split())


def _tex(text: str) -> str:
    return text.translate(_TEX)
