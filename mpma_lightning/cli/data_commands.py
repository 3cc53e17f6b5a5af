"""`check`, `split` and `prepare`: their command lines; the arguments of the data set are `--data.…`, as for `fit`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser

from data_modules.catalogue import DATA_MODULES, data_module
from data_modules.errors import UsageError, UserError
from data_modules.files import write_whole
from mpma_lightning.cli.explain import Explainer

if TYPE_CHECKING:
    from data_modules.base import DataModule

WITHOUT_MODULE = ("openi",)
"""Data sets that can be checked and have no data module."""


def check(argv: Sequence[str]) -> None:
    """``DATASET --root DIR [--all] [--json FILE] [--against STORE [--exclude_to FILE]] [--data.…]``."""
    parser = _parser("check", argv, (*DATA_MODULES, *WITHOUT_MODULE))
    parser.add_argument("--all", action="store_true", help="decode every image, not a sample")
    parser.add_argument("--json", type=Path | None, help="also write the result there, with every case")
    parser.add_argument("--against", type=Path | None, help="a prepared pre-training store to compare every image with")
    parser.add_argument("--exclude_to", type=Path | None, help="write the patients to exclude from it there")
    given = _parse(parser, "check", argv)
    if given is None:
        return
    from data_modules.checks import check as run

    data = None if given.dataset in WITHOUT_MODULE else _data(parser, given)
    result = run(given.dataset, given.root, data, given.all, given.against, given.exclude_to)
    print(result.as_text())
    if given.json is not None:
        write_whole(given.json, result.as_json() + "\n")
    if result.failed:
        raise UserError(f"{given.root}: found errors (above), expected none; mend them or know what they do to results")


def prepare(argv: Sequence[str]) -> None:
    """``DATASET --root DIR --out DIR [--short_side N] [--payload jpeg|raw] … [--dry_run] [--replace] [--data.…]``."""
    parser = _parser("prepare", argv, tuple(DATA_MODULES))
    parser.add_argument("--out", type=Path, required=True, help="the store to write: a new folder")
    parser.add_argument("--short_side", type=int, default=768, help="larger images are shrunk to this shorter side")
    parser.add_argument("--payload", type=str, default="jpeg", help="jpeg, or raw: uint8 pixels, bit-equal and large")
    parser.add_argument("--quality", type=int, default=90, help="of JPEG")
    parser.add_argument("--workers", type=int | None, help="processes; default: one per core")
    parser.add_argument("--dry_run", action="store_true", help="say what would be written, write nothing")
    parser.add_argument("--replace", action="store_true", help="a store at --out is replaced when the new one is whole")
    given = _parse(parser, "prepare", argv)
    if given is None:
        return
    from data_modules.prepare import Options
    from data_modules.prepare import prepare as run

    options = Options(given.short_side, given.payload, given.quality)
    print(run(_data(parser, given), given.out, options, given.workers, given.dry_run, given.replace))


def split(argv: Sequence[str]) -> None:
    """``DATASET --root DIR --out FILE [--shares [0.8,0.1,0.1]] [--fraction F] [--data.…]``."""
    parser = _parser("split", argv, tuple(DATA_MODULES))
    parser.add_argument("--out", type=Path, required=True, help="the table to write: --data.split_file of every run")
    parser.add_argument("--shares", type=list[float], default=[0.8, 0.1, 0.1], help="of train, val and test")
    parser.add_argument("--fraction", type=float, default=1.0, help="share of the training studies to keep, stratified")
    given = _parse(parser, "split", argv)
    if given is None:
        return
    from data_modules.index.split_files import write_split_file

    data = _data(parser, given)
    rows = data.rows()
    print(write_split_file(rows, data.label_names, data.seed, given.out, given.shares, given.fraction))


def _parser(command: str, argv: Sequence[str], known: Sequence[str]) -> ArgumentParser:
    parser = ArgumentParser(prog=f"python -m mpma_lightning {command}", exit_on_error=False)
    parser.add_argument("dataset", type=str, help=f"one of {', '.join(known)}")
    parser.add_argument("--root", type=Path, required=True, help="the data set; for check and split also a store")
    name = _dataset(argv)
    if name is not None and name not in WITHOUT_MODULE:
        parser.add_class_arguments(data_module(name), "data", skip={"root"}, instantiate=False)
    return parser


def _dataset(argv: Sequence[str]) -> str | None:
    """The word that belongs to no option."""
    takes_value = False
    for word in argv:
        if word.startswith("-"):
            takes_value = "=" not in word and word.replace("-", "_") not in ("__all", "__dry_run", "__replace")
        elif takes_value:
            takes_value = False
        else:
            return word
    return None


def _parse(parser: ArgumentParser, command: str, argv: Sequence[str]) -> argparse.Namespace | None:
    words = [word.replace("--dry-run", "--dry_run") for word in argv]
    try:
        return parser.parse_args(words)
    except argparse.ArgumentError as error:
        options = [action.dest for action in parser._actions]
        raise UsageError(Explainer(command, {}, options).explain(str(error))) from None
    except SystemExit:  # --help was printed
        return None


def _data(parser: ArgumentParser, given: argparse.Namespace) -> "DataModule":
    from data_modules.base import DataModule

    arguments = dict(vars(parser.instantiate(given)["data"]))
    module: type[DataModule] = data_module(given.dataset)
    return module.from_root(given.root, **arguments)
