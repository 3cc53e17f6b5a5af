"""The command `sweep`: reads, checks, and runs or prints every line of a sweep file."""

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from data_modules.errors import UserError
from data_modules.files import write_whole
from mpma_lightning.cli.main import PROG, program
from mpma_lightning.lab.sweeps.plan import Sweep, plan_file, read_sweep

if TYPE_CHECKING:
    from mpma_lightning.lab.sweeps.progress import Progress

GOES_ON = "the same command goes on with what is left"


def main(argv: Sequence[str]) -> None:
    """``SWEEP.yaml [--workers N] [--scheduler ADDRESS] [--storage URL] [--print-commands]``.

    Raises:
        UsageError: the file, or one of its lines, cannot be read as written; nothing has been started.
        UserError: trials failed; the others have been done.
        KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM; what ran has been stopped too.
    """
    options = _options(argv)
    sweep = read_sweep(options.sweep, options.trust)
    if options.storage and sweep.search is None:
        raise UserError(f"--storage is for a search; {sweep.path} has no `search:`")
    from mpma_lightning.lab.sweeps.check import Checked

    checked = Checked()
    sweep.trials = checked.complete(sweep.trials, str(sweep.path))
    if options.print_commands:
        return _print(sweep)
    checked.check_files(sweep.trials)
    try:
        from mpma_lightning.lab.sweeps.runner import runner
        from mpma_lightning.lab.sweeps.search import Search
    except ImportError as error:
        raise UserError(f"a sweep needs Dask and Optuna ({error}): pip install 'mpma-lightning[sweep]'") from None
    search = None
    if sweep.search is not None:
        search = Search(sweep, partial(checked.complete, where=f"{sweep.path}: search"), options.storage)
    with stopping_together(), runner(sweep, options.workers, options.scheduler) as made:
        if search is not None:
            search.run(made)
        else:
            content = {"sweep": str(sweep.path), "trials": [trial.plain() for trial in sweep.trials]}
            write_whole(plan_file(sweep), json.dumps(content, indent=2) + "\n")
            _tell(sweep, made.run(sweep.trials))
    return None


@contextmanager
def stopping_together() -> Iterator[None]:
    """SIGTERM ends the sweep as Ctrl-C does: what it runs ends too, each at its last checkpoint."""

    def leave(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(GOES_ON) from None
    except SystemExit:
        print(f"stopped by SIGTERM: {GOES_ON}", file=sys.stderr)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _tell(sweep: Sweep, progress: "Progress") -> None:
    minutes = (time.monotonic() - progress.began) / 60
    state = f"{len(progress.done)} of {len(sweep.trials)} trials are done in {sweep.runs}"
    print(f"{state}; this call took {minutes:.1f} min", file=sys.stderr)
    if progress.failed:
        lines = "; ".join(f"{name}: {reason}" for name, reason in list(progress.failed.items())[:3])
        raise UserError(f"{len(progress.failed)} trials failed, the same command tries them again: {lines}")
    print(f"tables: {program()} report {sweep.runs}", file=sys.stderr)


def _print(sweep: Sweep) -> None:
    """One line a trial, those of a stage after those it waits for."""
    for name, stage in sweep.stages.items():
        print(f"# {name}{f', after {stage.after}' if stage.after else ''}")
        for trial in sweep.trials:
            if trial.stage == name:
                print(trial.command())


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"{PROG} sweep",
        description="Runs the trials of a sweep file: every one an ordinary command in a run folder of its own. The "
        "same command again goes on with what is left.",
    )
    parser.add_argument("sweep", type=Path, metavar="SWEEP.yaml")
    parser.add_argument("--workers", type=int, default=1, help="trials at a time on this machine")
    parser.add_argument(
        "--scheduler", help="of Dask, where workers have been started: tcp://HOST:PORT, or the file that it wrote"
    )
    parser.add_argument("--storage", help="of a search: an Optuna URL or a journal file; default RUNS/journal.log")
    parser.add_argument("--print-commands", action="store_true", help="print one line a trial and run nothing")
    parser.add_argument("--trust", action="store_true", help="the configs of the sweep may name classes of any package")
    options = parser.parse_args(list(argv))
    if options.workers < 1:
        raise UserError(f"--workers {options.workers}: expected 1 or more")
    return options
