"""Which checkpoint ``--ckpt_path`` means, for ``fit`` and for the commands that evaluate."""

from pathlib import Path

from lightning.pytorch.utilities import rank_zero_info

from data_modules.errors import UserError
from mpma_lightning.runs.folder import Run

RANDOM = "random"
"""``--ckpt_path random``: random weights, on purpose."""


def checkpoint_to_continue(run: Run, asked: str | None, trial: bool) -> Path | None:
    """The checkpoint that ``fit`` continues from; None to start from the beginning.

    Args:
        run: of the command.
        asked: ``--ckpt_path``: ``last``, ``best``, a file or None.
        trial: a ``fast_dev_run``, which neither reads nor writes the run.
    """
    if asked == RANDOM:
        raise UserError("fit: --ckpt_path random is for validate, test and predict; fit starts anew with null")
    if asked not in ("last", "best", None):
        return _existing(asked)
    kept = [] if trial else run.checkpoints()
    if not kept:
        return None
    if asked is None:
        raise UserError(
            f"{run.folder} holds {kept[-1].name}, which a run from the beginning would overwrite: continue it with "
            f"--ckpt_path last, or choose --trainer.default_root_dir OTHER, or delete {run.folder}"
        )
    return run.best_or_refuse() if asked == "best" else run.last()


def checkpoint_to_evaluate(run: Run, asked: str | None, starts_from: str | None, subcommand: str) -> Path | None:
    """The checkpoint that ``subcommand`` evaluates; None for the weights that the task starts with.

    Args:
        run: of the command.
        asked: ``--ckpt_path``: ``last``, ``best``, ``random``, a file, or None: the best checkpoint of the run, or its
            last one if it has no best.
        starts_from: ``model.checkpoint``, whose weights are evaluated where the run has no checkpoint of its own.
        subcommand: ``validate``, ``test`` or ``predict``.
    """
    if asked == RANDOM:
        return None
    if asked == "best":
        return run.best_or_refuse()
    if asked == "last":
        return run.last_or_refuse()
    if asked is not None:
        return _existing(asked)
    if (last := run.last()) is None:
        return None
    found = run.best() or last
    which = "the last" if found == last else "the best"
    other = "; another --trainer.default_root_dir takes those of model.checkpoint" if starts_from else ""
    rank_zero_info(f"{subcommand}: weights of {found}, {which} of this run{other}")
    return found


def _existing(file: str) -> Path:
    path = Path(file)
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist; give a file, `last`, `best`, or null for none")
    return path
