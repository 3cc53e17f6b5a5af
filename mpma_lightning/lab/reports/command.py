"""The command `report`: tables and a page of the result records below folders."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from data_modules.errors import UsageError, UserError
from data_modules.files import write_whole
from mpma_lightning.cli.main import PROG

SUFFIXES = (".md", ".csv", ".tex", ".html")
LEADERBOARD = ".json"


def main(argv: Sequence[str]) -> None:
    """``RUNS… [--out FILE] [--columns METRIC…] [--no-pictures] …``; see ``--help``.

    Raises:
        UserError: nothing to report, a cell that does not come out the same, or leaderboards that do not compare.
    """
    options = _options(argv)
    from mpma_lightning.lab.reports import leaderboard, writers
    from mpma_lightning.lab.reports.page import PATIENTS, holds_patients, page
    from mpma_lightning.lab.reports.runs import find_runs
    from mpma_lightning.lab.reports.tables import make_tables

    found = find_runs(options.runs)
    if options.verify:
        from mpma_lightning.lab.reports.verify import verify

        print("\n".join(verify(found, options.verify)))
        return
    tables, title = make_tables(found, options.columns), f"Runs in {', '.join(map(str, options.runs))}"
    kinds = {
        ".md": lambda: writers.markdown(tables, found.remarks),
        ".csv": lambda: writers.comma_separated(tables),
        ".tex": lambda: writers.latex(tables),
        ".html": lambda: page(title, tables, found, not options.no_pictures),
        ".json": lambda: leaderboard.merged(
            {title: leaderboard.entries(tables, found, options.audit)}
            | {str(path): leaderboard.read_board(path) for path in options.merge}
        ),
    }
    if options.out is None:
        print(kinds[".md"](), end="")
    files = [options.out] if options.out else [options.runs[0] / f"report{suffix}" for suffix in SUFFIXES]
    for file in files:
        write_whole(file, kinds[file.suffix]().encode(errors="backslashreplace"))
    for remark in found.remarks if options.out else ():
        print(f"remark: {remark}", file=sys.stderr)
    if any(file.suffix == ".html" for file in files) and not options.no_pictures and holds_patients(found.runs):
        print(PATIENTS, file=sys.stderr)
    print(f"written: {', '.join(map(str, files))}", file=sys.stderr)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"{PROG} report",
        description="Tables of the result records below folders: mean ± sd over seeds, intervals, paired tests, cost, "
        "and the commands of cells that are missing. Without --out: Markdown here, and report.md, .csv, .tex, .html.",
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUNS", help="folder of a sweep, or of runs")
    parser.add_argument(
        "--out", type=Path, help="the one file to write: .md, .csv, .tex, .html, or .json: a leaderboard"
    )
    parser.add_argument("--no-pictures", action="store_true", help="a page without the pictures of the runs")
    parser.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="METRIC",
        help="in place of the headline metrics, such as auroc 'dice*'",
    )
    parser.add_argument("--verify", metavar="CELL", help="run stage/method/seed_N again and compare")
    parser.add_argument(
        "--merge", type=Path, nargs="+", default=[], metavar="BOARD.json", help="leaderboards to add to that of --out"
    )
    parser.add_argument(
        "--audit",
        type=Path,
        nargs="+",
        default=[],
        metavar="CHECK.json",
        help="for a leaderboard: what `check DATASET --against STORE --json CHECK.json` wrote of the pre-training data",
    )
    options = parser.parse_args(list(argv))
    if options.out and options.out.suffix not in (*SUFFIXES, LEADERBOARD):
        raise UsageError(f"--out {options.out}: expected a name that ends in {', '.join((*SUFFIXES, LEADERBOARD))}")
    if (options.merge or options.audit) and (not options.out or options.out.suffix != LEADERBOARD):
        raise UsageError("--merge and --audit are of a leaderboard; give --out FILE.json")
    if options.out and options.out.is_dir():
        raise UserError(f"--out {options.out} is a folder; give a file")
    return options
