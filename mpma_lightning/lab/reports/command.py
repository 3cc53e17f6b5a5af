"""The command `report`: tables and a page of the result rows below folders."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from data_modules.errors import UsageError, UserError
from mpma_lightning.cli.main import PROG

SUFFIXES = (".md", ".csv", ".tex", ".html")


def main(argv: Sequence[str]) -> None:
    """``RUNS… [--out FILE] [--verify CELL]``.

    Raises:
        UserError: nothing to report, or a cell that does not come out the same.
    """
    options = _options(argv)
    from mpma_lightning.lab.reports import writers
    from mpma_lightning.lab.reports.page import page
    from mpma_lightning.lab.reports.rows import find_runs
    from mpma_lightning.lab.reports.tables import make_tables

    found = find_runs(options.runs)
    if options.verify:
        from mpma_lightning.lab.reports.verify import verify

        print("\n".join(verify(found, options.verify)))
        return
    tables = make_tables(found)
    kinds = {
        ".md": lambda: writers.markdown(tables, found.remarks),
        ".csv": lambda: writers.comma_separated(tables),
        ".tex": lambda: writers.latex(tables),
        ".html": lambda: page(f"Runs in {', '.join(map(str, options.runs))}", tables, found.runs, found.remarks),
    }
    if options.out is None:
        print(kinds[".md"](), end="")
    files = [options.out] if options.out else [options.runs[0] / f"report{suffix}" for suffix in SUFFIXES]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(kinds[file.suffix](), encoding="utf-8")
    for remark in found.remarks if options.out else ():
        print(f"left out: {remark}", file=sys.stderr)
    print(f"written: {', '.join(map(str, files))}", file=sys.stderr)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"{PROG} report",
        description="Tables of the result rows below folders: mean ± sd over seeds, intervals, paired tests, cost, and "
        "the commands of cells that are missing. Without --out: Markdown here, and report.md, .csv, .tex and .html.",
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUNS", help="folder of a sweep, or of runs")
    parser.add_argument("--out", type=Path, help="the one file to write: .md, .csv, .tex or .html")
    parser.add_argument("--verify", metavar="CELL", help="run stage/method/seed_N again and compare")
    options = parser.parse_args(list(argv))
    if options.out and options.out.suffix not in SUFFIXES:
        raise UsageError(f"--out {options.out}: expected a name that ends in {', '.join(SUFFIXES)}")
    if options.out and options.out.is_dir():
        raise UserError(f"--out {options.out} is a folder; give a file")
    return options
