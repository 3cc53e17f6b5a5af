"""Tables as Markdown, CSV and LaTeX; names from files never become markup, commands or formulas."""

import re
from collections import Counter
from collections.abc import Callable, Sequence

import pandas as pd

from mpma_lightning.lab.reports.statistics import Difference
from mpma_lightning.lab.reports.tables import Table

LEGEND = (
    "Mean ± standard deviation over seeds (where a probe ran once, over the seeds of its heads); in brackets the mean "
    "of the runs' 95 % bootstrap intervals. Bold: the best mean of a column. =: not told apart from the best on the "
    "same samples (paired bootstrap, p > 0.05). Shares are in per cent."
)
_TEX = str.maketrans(
    {character: f"\\{character}" for character in "&%_#${}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "→": r"$\to$"}
    | {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "·": r"$\cdot$", "×": r"$\times$", "—": "---"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "\n": " ", "\r": " "}
)
_MARKDOWN = str.maketrans(
    {character: f"\\{character}" for character in "\\`*|"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def shown(cell: pd.Series, digits: int) -> tuple[str, str]:
    """``89.1 ± 0.4`` (and `` =`` where it is not told apart from the best), and ``[88.0, 90.2]``."""
    text = f"{cell['mean']:.{digits}f}" + ("" if pd.isna(cell["sd"]) else f" ± {cell['sd']:.{digits}f}")
    interval = "" if pd.isna(cell["low"]) else f"[{cell['low']:.{digits}f}, {cell['high']:.{digits}f}]"
    return text + (" =" if cell["against_best"] and cell["against_best"].p > 0.05 else ""), interval


def frame(
    table: Table,
    escape: Callable[[str], str] = str,
    bold: Callable[[str], str] = str,
    interval: Callable[[str], str] = str,
) -> pd.DataFrame:
    """A table as escaped texts. A row a method, its columns, seeds and cost.

    Args:
        table: of a stage.
        escape: for texts.
        bold: marks the best.
        interval: marks an interval.
    """
    texts = pd.DataFrame("", index=table.methods, columns=[column.title for column in table.columns], dtype=object)
    digits = {column.title: column.digits for column in table.columns}
    for method, title in table.cells.index:
        cell = table.cells.loc[(method, title)]
        value, ends = shown(cell, digits[title])
        value = bold(escape(value)) if cell["best"] else escape(value)
        texts.at[method, title] = value + " " + interval(ends) if ends else value
    costs = table.costs.rename(columns={"seconds": "min a run", "MiB": "peak MiB"})
    costs["min a run"] = (costs["min a run"] / 60).map("{:.1f}".format)
    whole = ["seeds", "samples/s", "peak MiB"]
    costs[whole] = costs[whole].map("{:.0f}".format)
    made = pd.concat([texts, costs], axis=1).fillna("")
    return made.rename(index=escape, columns=headings(table)).rename(columns=escape)


def headings(table: Table) -> dict[str, str]:
    """What a reader sees in the place of each column's title; the title where two columns would look the same."""
    seen = Counter(column.heading for column in table.columns)
    return {c.title: c.heading if seen[c.heading] == 1 else c.title for c in table.columns}


def notes(table: Table) -> list[str]:
    """What the seeds could show, where values are quoted from, and which methods have one seed."""
    lines, seeds, names = [], table.costs["seeds"], headings(table)
    if able := [f"{names[c.title]} {c.detectable:.2g}" for c in table.columns if c.detectable is not None]:
        lines.append(
            f"With {seeds[seeds > 1].min()} seeds a two-sided t test (5 %, power 80 %, pooled deviation) finds "
            f"differences of: {', '.join(able)}."
        )
    spread = set(table.cells[table.cells["sd"].notna()].index.get_level_values("method")) if table.columns else set()
    if single := [method for method in seeds[seeds == 1].index if method not in spread]:
        lines.append(f"One seed only: {', '.join(single) if len(single) < len(seeds) else 'every row'}.")
    if table.quoted:
        lines.append(f"Quoted from publications, same protocol, not run here: {', '.join(table.quoted)}.")
    return lines


def markdown(tables: Sequence[Table], remarks: Sequence[str]) -> str:
    """Everything: tables, notes, missing cells, remarks."""
    blocks = [LEGEND]
    for table in tables:
        blocks.append(f"## {_plain(title(table))}")
        if table.methods:
            made = frame(table, _plain, "**{}**".format)
            lines = [["", *made.columns], ["---", *("---:" for _ in made.columns)], *made.itertuples()]
            blocks.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
        blocks += map(_plain, notes(table))
        if table.missing:
            blocks.append(f"{len(table.missing)} runs are missing; these commands fill them:")
            blocks.append("\n".join(f"    {' '.join(trial.command.split())}" for trial in table.missing))
    if remarks:
        blocks += ["## Remarks", "\n".join(f"- {_plain(remark)}" for remark in remarks)]
    return "\n\n".join(blocks) + "\n"


def comma_separated(tables: Sequence[Table]) -> str:
    """One line a method, metric and seed, in long form, for any other tool. No text begins like a formula."""
    texts = ["stage", "protocol", "data", "method", "metric"]
    names = [*texts, "seed", "value", "unit", "quoted", "p_against_best"]
    made = []
    for table in (table for table in tables if table.columns):
        place = {"stage": table.stage, "protocol": table.protocol, "data": table.data}
        lines = table.values.assign(**place).join(table.cells["against_best"], on=["method", "metric"])
        units = {column.title: "%" if column.scale == 100 else "" for column in table.columns}
        lines["unit"] = lines["metric"].map(units)
        lines["p_against_best"] = [
            f"{gap.p:.4f}" if isinstance(gap, Difference) else "" for gap in lines["against_best"]
        ]
        lines["seed"] = lines["seed"].astype(str).mask(lines["quoted"], "")
        lines["value"] = lines["value"].map("{:.6g}".format)
        made.append(lines.astype({"quoted": int}))
    lines = pd.concat(made) if made else pd.DataFrame(columns=names)
    lines[texts] = lines[texts].map(lambda text: f"'{text}" if text.startswith(_FORMULA) else text)
    return lines[names].to_csv(index=False, lineterminator="\n")


def latex(tables: Sequence[Table]) -> str:
    """booktabs tables as a paper has them: what was measured, without the cost; notes below."""
    blocks = [r"% needs \usepackage{booktabs}"]
    for table in tables:
        if table.methods and table.columns:
            whole = frame(table, _tex, r"\textbf{{{}}}".format, r"{{\scriptsize {}}}".format)
            made = whole.iloc[:, : len(table.columns)]
            text = made.style.to_latex(
                column_format=f"l{'r' * len(made.columns)}",
                position_float="centering",
                hrules=True,
                caption=_tex(title(table)),
                label=f"tab:{re.sub(r'[^A-Za-z0-9]+', '-', table.stage).strip('-').lower()}",
            )
            below = f"\\par\\smallskip\n{{\\footnotesize {' '.join(map(_tex, [LEGEND, *notes(table)]))}\\par}}\n"
            body, end = text.strip().rsplit("\n", 1)
            blocks.append(f"{body}\n{below}{end}")
    return "\n\n".join(blocks) + "\n"


def title(table: Table) -> str:
    """Stage, protocol and data."""
    return f"{table.stage} — {', '.join(filter(None, (table.protocol, table.data)))}"


def _plain(text: str) -> str:
    return " ".join(text.translate(_MARKDOWN).replace("](", "]\\(").split())


def _tex(text: str) -> str:
    """What begins with ``[`` or ``*`` would be an argument of the line end before it."""
    return f"{'{}' if text.startswith(('[', '*')) else ''}{text.translate(_TEX)}"
