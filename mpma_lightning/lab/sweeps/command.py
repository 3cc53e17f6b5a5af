"""The command `sweep`: reads, checks, and runs or prints every line of a sweep file."""

import argparse
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_modules.errors import UserError
from mpma_lightning.cli.main import PROG
from mpma_lightning.lab.sweeps.plan import Sweep, plan_file, read_sweep
from mpma_lightning.lab.sweeps.trial import Trial, write_json

if TYPE_CHECKING:
    from mpma_lightning.lab.sweeps.check import Checked

GOES_ON = "the same command goes on with what is left"


def main(argv: Sequence[str]) -> None:
    """``SWEEP.yaml [--workers N] [--launcher local|submitit] [--storage URL] [--print-commands]``.

    Raises:
        UsageError: the file, or one of its lines, cannot be read as written; nothing has been started.
        UserError: trials failed; the others have been done.
        KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM; what ran has been stopped too.
    """
    options = _options(argv)
    sweep = read_sweep(options.sweep)
    if options.storage and sweep.search is None:
        raise UserError(f"--storage is for a search; {sweep.path} has no `search:`")
    from mpma_lightning.lab.sweeps.check import Checked

    checked = Checked(sweep.trials, str(sweep.path))
    if options.print_commands:
        return _print(sweep)
    checked.check_files(sweep.trials)
    if sweep.search is None:  # a search finds its trials as it goes
        write_json(plan_file(sweep), {"sweep": str(sweep.path), "trials": [_planned(t, checked) for t in sweep.trials]})
    if options.launcher == "submitit":
        from mpma_lightning.lab.sweeps.cluster import submit

        more = ["--storage", options.storage] if options.storage else []
        submit(sweep, ["sweep", str(sweep.path), *more], options.workers)
        return None
    with stopping_together():
        if sweep.search is not None:
            from mpma_lightning.lab.sweeps.search import Search

            Search(sweep, checked, options.storage).run(options.workers)
        else:
            _work(sweep, checked, options.workers)
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


def _planned(trial: Trial, checked: "Checked") -> dict[str, Any]:
    """What the report reads of a trial: its place, its commands, and the config that each row must have."""
    return trial.plain() | {"config_sha256": [checked.config_sha256(trial, step) for step in trial.steps]}


def _work(sweep: Sweep, checked: "Checked", workers: int) -> None:
    from mpma_lightning.lab.sweeps.worker import Worker

    worker = Worker(sweep.trials, checked, workers)
    failed = worker.run()
    minutes = (time.time() - worker.began) / 60
    state = f"{len(worker.done)} of {len(sweep.trials)} trials are done in {sweep.runs}"
    print(f"{state}; this call took {minutes:.1f} min", file=sys.stderr)
    if failed:
        lines = "; ".join(f"{name}: {reason}" for name, reason in list(failed.items())[:3])
        raise UserError(f"{len(failed)} trials failed, the same command tries them again: {lines}")
    print(f"tables: {PROG} report {sweep.runs}", file=sys.stderr)


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
        "same command again, also at the same time and on other machines, goes on with what is left.",
    )
    parser.add_argument("sweep", type=Path, metavar="SWEEP.yaml")
    parser.add_argument("--workers", type=int, default=1, help="trials at a time (submitit: jobs of the array)")
    parser.add_argument("--launcher", choices=("local", "submitit"), default="local", help="here, or as a SLURM array")
    parser.add_argument("--storage", help="of a search: an Optuna URL or a journal file; default RUNS/journal.log")
    parser.add_argument("--print-commands", action="store_true", help="print one line a trial and run nothing")
    options = parser.parse_args(list(argv))
    if options.workers < 1:
        raise UserError(f"--workers {options.workers}: expected 1 or more")
    return options
