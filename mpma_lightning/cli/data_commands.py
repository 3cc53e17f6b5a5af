"""`check`, `split` and `prepare`: their command lines; the arguments of the data set are `--data.…`, as for `fit`."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from data_modules.catalogue import DATA_MODULES, data_module
from data_modules.errors import UserError
from data_modules.files import write_whole
from data_modules.machine import in_threads
from mpma_lightning.cli.commands import parse

if TYPE_CHECKING:
    from data_modules.base import DataModule


def check(argv: Sequence[str]) -> None:
    """``DATASET --root DIR [--all] [--json FILE] [--against STORE [--exclude_to FILE]] [--scheduler A] [--data.…]``."""
    parser = _parser("check", argv)
    parser.add_argument("--all", action="store_true", help="decode every image; default: a sample of them")
    parser.add_argument("--json", type=Path | None, help="write the result, with every case, to this file too")
    parser.add_argument(
        "--against",
        type=Path | None,
        help="a prepared store for pre-training: find images that it shares with this data set",
    )
    parser.add_argument(
        "--exclude_to",
        type=Path | None,
        help="with --against: write the shared patients to this file, for data.exclude",
    )
    _add_elsewhere(parser)
    given = parse(parser, argv, "check")
    from data_modules.checks import check as run

    with _elsewhere(given) as each:
        data = _data(parser, given)
        result = run(given.dataset, given.root, data, given.all, given.against, given.exclude_to, each or in_threads)
    print(result.as_text())
    if given.json is not None:
        write_whole(given.json, result.as_json() + "\n")
    if result.failed:
        raise UserError(f"{given.root}: found errors (above), expected none; mend them or know what they do to results")


def prepare(argv: Sequence[str]) -> None:
    """``DATASET --root DIR --out DIR [--short_side N] [--payload jpeg|raw] … [--dry_run] [--replace] [--data.…]``."""
    parser = _parser("prepare", argv)
    parser.add_argument("--out", type=Path, required=True, help="folder of the new store")
    parser.add_argument(
        "--short_side", type=int, default=768, help="pixels of the shorter side to which larger images are shrunk"
    )
    parser.add_argument(
        "--payload", type=str, default="jpeg", help="jpeg, or raw: uncompressed 8-bit pixels, exact but large"
    )
    parser.add_argument("--quality", type=int, default=90, help="JPEG quality, 1 to 100")
    parser.add_argument("--workers", type=int | None, help="number of processes; default: one per core")
    _add_elsewhere(parser)
    parser.add_argument("--dry_run", action="store_true", help="report what would be written, and write nothing")
    parser.add_argument("--replace", action="store_true", help="replace a store at --out once the new one is complete")
    given = parse(parser, [word.replace("--dry-run", "--dry_run") for word in argv], "prepare")
    from data_modules.prepare import Options
    from data_modules.prepare import prepare as run

    options = Options(given.short_side, given.payload, given.quality)
    with _elsewhere(given) as each:
        print(run(_data(parser, given), given.out, options, given.workers, given.dry_run, given.replace, each=each))


def split(argv: Sequence[str]) -> None:
    """``DATASET --root DIR --out FILE [--shares [0.8,0.1,0.1]] [--fraction F] [--data.…]``."""
    parser = _parser("split", argv)
    parser.add_argument("--out", type=Path, required=True, help="table to write; runs read it with --data.split_file")
    parser.add_argument(
        "--shares", type=list[float], default=[0.8, 0.1, 0.1], help="shares of training, validation and test"
    )
    parser.add_argument(
        "--fraction", type=float, default=1.0, help="share of the training studies to keep, stratified by label"
    )
    given = parse(parser, argv, "split")
    from data_modules.index.split_files import write_split_file

    data = _data(parser, given)
    rows = data.rows()
    print(write_split_file(rows, data.label_names, data.seed, given.out, given.shares, given.fraction))


def _parser(command: str, argv: Sequence[str]) -> ArgumentParser:
    start = f"python -m mpma_lightning {command}"
    more = f"`{start} DATASET --help` lists the options --data.… of that data set, too, such as columns and splits."
    parser = ArgumentParser(prog=start, description=more, exit_on_error=False)
    listed = ", ".join(f"{name} ({kind})" for name, kind in DATA_MODULES.items())
    parser.add_argument("dataset", type=str, help=f"one of these, with the class that a config names: {listed}")
    parser.add_argument(
        "--root", type=Path, required=True, help="folder of the data set; check and split also take a prepared store"
    )
    name = _dataset(argv)
    if name is not None:
        parser.add_class_arguments(data_module(name), "data", skip={"root"}, instantiate=False)
    return parser


def _add_elsewhere(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--scheduler", type=str | None, help="of Dask, whose workers do it: tcp://HOST:PORT or its file"
    )
    parser.add_argument("--cluster", type=Path | None, help="YAML file that names a Dask cluster, as in a sweep file")


def _elsewhere(given: Namespace) -> AbstractContextManager[Any]:
    """What calls a function for each of many items on other machines, or None where none are asked for."""
    if given.scheduler is None and given.cluster is None:
        return nullcontext()
    try:
        from mpma_lightning.cli.engine import elsewhere
    except ImportError as error:
        raise UserError(f"--scheduler and --cluster need Dask ({error}): pip install 'mpma-lightning[sweep]'") from None
    return elsewhere(given.scheduler, given.cluster)


def _dataset(argv: Sequence[str]) -> str | None:
    """The first word that is neither an option nor its value."""
    takes_value = False
    for word in argv:
        if word.startswith("-"):
            takes_value = "=" not in word and word.replace("-", "_") not in ("__all", "__dry_run", "__replace")
        elif takes_value:
            takes_value = False
        else:
            return word
    return None


def _data(parser: ArgumentParser, given: Namespace) -> "DataModule":
    from data_modules.base import DataModule

    arguments = dict(vars(parser.instantiate(given)["data"]))
    module: type[DataModule] = data_module(given.dataset)
    return module.from_root(given.root, **arguments)
