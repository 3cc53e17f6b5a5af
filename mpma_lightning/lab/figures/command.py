"""The command `figure`: one picture of a run, sized for a journal, with its caption."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_modules.errors import UsageError, UserError, suggest
from mpma_lightning.cli.main import PROG
from mpma_lightning.lab.figures.kinds import KINDS

SUFFIXES = (".png", ".pdf", ".svg")
PATIENTS = "This figure may show patients, and lies outside of the run folder: keep it where their data may be kept."


def main(argv: Sequence[str]) -> None:
    """``KIND RUN… [--ids ID…] [--out FILE] …``; see ``--help``.

    Raises:
        UsageError: no such kind, or an option that it does not take.
        UserError: no such run, sample or metric; or the run has no such figure.
    """
    options = _options(argv)
    kind = KINDS[options.kind]
    given = {name for name, value in vars(options).items() if value not in (None, [], False)}
    if odd := sorted(given - {"kind", "runs", "out", "column", *kind.takes}):
        takes = ", ".join(f"--{name}" for name in kind.takes)
        raise UsageError(f"figure {options.kind} takes no --{odd[0]}; it takes {takes}, --column and --out")
    if missing := [name for name in kind.needs if name not in given]:
        raise UsageError(f"figure {options.kind} needs --{missing[0]}")
    if len(options.runs) > 1 and not kind.several:
        raise UsageError(f"figure {options.kind} is of one run, found {len(options.runs)}: {' '.join(options.runs)}")
    if options.column == "single" and not kind.single:
        raise UsageError(f"figure {options.kind} is not legible in a single column; give --column double")
    for run in map(Path, options.runs):
        if not run.exists():
            near = suggest(run.name, [path.name for path in run.parent.glob("*")])
            raise UserError(f"{run} does not exist{near}")
    out = _out(options)
    from mpma_lightning.lab.figures.publish import publish

    drawn = _draw(options)
    beside = publish(drawn, out)
    print(beside.read_text(), end="")
    print(f"written: {out}, {beside}", file=sys.stderr)
    if drawn.patients and not out.resolve().is_relative_to(Path(options.runs[0]).resolve()):
        print(PATIENTS, file=sys.stderr)


def _draw(options: argparse.Namespace) -> Any:
    from mpma_lightning.figures.sheet import COLUMNS, drawn_on
    from mpma_lightning.lab.figures.wanted import Wanted

    wanted = Wanted(
        options.kind,
        [Path(run) for run in options.runs],
        options.ids,
        options.samples,
        options.split,
        options.ckpt_path,
        options.ratios,
        options.metric,
        options.protocol,
        options.layer,
        options.image,
        options.text,
        options.tokenizer,
        options.trust,
    )
    with drawn_on(COLUMNS[options.column]):
        return KINDS[options.kind].draw(wanted)


def _out(options: argparse.Namespace) -> Path:
    """The file to write: by default in the folder of the run, where its pictures may be kept."""
    if options.out is None:
        if not Path(options.runs[0]).is_dir():
            raise UserError(f"{options.runs[0]} is no folder, so there is no place to write to; give --out FILE")
        return Path(options.runs[0], "figures", f"{options.kind}.pdf")
    out = Path(options.out)
    if out.suffix not in SUFFIXES:
        raise UsageError(f"--out {out}: expected a name that ends in {', '.join(SUFFIXES)}")
    if out.is_dir():
        raise UserError(f"--out {out} is a folder; give a file")
    return out


def _options(argv: Sequence[str]) -> argparse.Namespace:
    width = max(map(len, KINDS))
    lines = [f"  {name:<{width}}  {kind.shows} ({kind.of})" for name, kind in KINDS.items()]
    parser = argparse.ArgumentParser(
        prog=f"{PROG} figure",
        usage=f"{PROG} figure KIND RUN [--ids ID ...] [--column single|double] [--out FILE] ...",
        description="Draws one figure of a run, 89 or 183 mm wide, and writes its caption beside it.\n\nkinds:\n"
        + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", metavar="KIND", help="one of the above")
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", help="run folder; of phrase any checkpoint; of curves several"
    )
    parser.add_argument("--out", metavar="FILE", help=".png, .pdf or .svg (default: RUN/figures/KIND.pdf)")
    parser.add_argument("--column", choices=("single", "double"), default="double", help="of a journal: 89 or 183 mm")
    parser.add_argument("--ids", nargs="+", default=[], metavar="ID", help="samples (default: the first that fit)")
    parser.add_argument("--samples", type=int, metavar="N", help="how many, where no --ids are given")
    parser.add_argument("--split", choices=("val", "test"), help="default: val of a pre-training, else test")
    parser.add_argument("--ckpt_path", metavar="CKPT", help="last, best or a file (default: best, else last)")
    parser.add_argument("--ratios", nargs="+", type=float, default=[], help="of mask_ratios: shares of hidden patches")
    parser.add_argument("--metric", help="of curves a logged value, such as val/loss; of label_efficiency a metric")
    parser.add_argument("--protocol", help="of label_efficiency, where a sweep has several")
    parser.add_argument("--layer", type=int, help="of slots: layer of fusion, from 0")
    parser.add_argument("--image", type=Path, metavar="FILE", help="of phrase")
    parser.add_argument("--text", metavar="SENTENCE", help="of phrase")
    parser.add_argument("--tokenizer", metavar="FOLDER", help="of phrase, for a checkpoint without one")
    parser.add_argument("--trust", action="store_true", help="the run's config may name classes of any package")
    options = parser.parse_args(list(argv))
    if options.kind not in KINDS:
        raise UsageError(f"unknown kind of figure '{options.kind}'{suggest(options.kind, KINDS)}")
    if options.samples is not None and options.samples < 1:
        raise UsageError(f"--samples {options.samples}: expected 1 or more")
    return options
