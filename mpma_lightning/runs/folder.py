"""The folder of a run. Its record and its checkpoints have fixed places in it; no other folder is searched."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from data_modules.errors import UserError
from mpma_lightning.backbones.tensor_files import read_file

CONFIG_NAME = "config.yaml"
CHECKPOINTS = "checkpoints"


def run_folder(configs: Sequence[Path]) -> Path:
    """The folder of runs of these configs: ``runs/mine/first`` for ``experiments/mine/first.yaml``, the last of them,
    and ``runs/first`` for a ``first.yaml`` that is not below a folder ``experiments``."""
    if not configs:
        return Path("runs", "unnamed")
    path = configs[-1].resolve().with_suffix("")
    folders = path.parts[:-1]
    if "experiments" in folders:
        below = len(folders) - folders[::-1].index("experiments")
        return Path("runs", *path.parts[below:])
    return Path("runs", path.name)


@dataclass(frozen=True)
class Run:
    """A run folder. The checkpoints of the run are the files ``folder/checkpoints/*.ckpt``."""

    folder: Path

    @property
    def record(self) -> Path:
        """The complete config of ``fit``, as it was run."""
        return self.folder / CONFIG_NAME

    @property
    def last_file(self) -> Path:
        """Where ``fit`` keeps its newest checkpoint; the file may be absent or damaged."""
        return self.folder / CHECKPOINTS / "last.ckpt"

    def checkpoints(self) -> list[Path]:
        """All checkpoints, ordered by name; some may be damaged."""
        return sorted((self.folder / CHECKPOINTS).glob("*.ckpt"))

    def last(self) -> Path | None:
        """The checkpoint to continue from; None in a folder without checkpoints.

        This is ``last.ckpt``. If it is damaged or absent, it is the undamaged checkpoint of the most steps, and a
        warning says so.

        Raises:
            UserError: all checkpoints are damaged, or the folder has checkpoints and no record.
        """
        if not self.checkpoints():
            return None
        if not self.record.is_file():
            raise UserError(
                f"{self.folder / CHECKPOINTS} holds checkpoints, but {self.record}, the record of their run, is not "
                "there: copy it back, or choose --trainer.default_root_dir OTHER; to start a new run from these "
                "weights, give --model.checkpoint FILE"
            )
        problem: UserError | None = None
        if self.last_file.is_file():
            try:
                read_file(self.last_file, mmap=True)
                return self.last_file
            except UserError as error:
                problem = error
        step, path = max(self._undamaged(), default=(0, None))
        if path is None:
            raise problem or UserError(f"no checkpoint in {self.folder / CHECKPOINTS} can be read; delete them")
        from lightning.pytorch.utilities import rank_zero_warn  # seconds, which few readers of a run need

        rank_zero_warn(f"{problem or f'{self.last_file} is not there'}. Taking {path} (step {step}) in its place")
        return path

    def _undamaged(self) -> Iterator[tuple[int, Path]]:
        """(step, file) of each checkpoint beside ``last.ckpt`` that can be read."""
        for path in self.checkpoints():
            if path != self.last_file:
                with suppress(UserError, LookupError, TypeError, ValueError):
                    yield int(read_file(path, mmap=True)["global_step"]), path

    def last_or_refuse(self) -> Path:
        """:meth:`last`; UserError in a folder without checkpoints."""
        last = self.last()
        if last is None:
            raise UserError(f"{self.folder} holds no checkpoint: run fit first, or give --ckpt_path FILE")
        return last

    def best(self) -> Path | None:
        """The checkpoint that the ``ModelCheckpoint`` with a ``monitor`` kept as its best; None if there is none."""
        last = self.last()
        return None if last is None else _best_known_to(last)

    def best_or_refuse(self) -> Path:
        """:meth:`best`, or a UserError that says why there is none."""
        last = self.last_or_refuse()
        if (best := _best_known_to(last)) is not None:
            return best
        why = "no validation has ended yet" if _best_files(last) else "no ModelCheckpoint of the run has a `monitor`"
        raise UserError(f"{last} knows no best checkpoint: {why}; give --ckpt_path last")


def record_beside(checkpoint: Path) -> Path | None:
    """The record of the run in whose folder ``checkpoint`` lies; None for files elsewhere."""
    record = Run(checkpoint.parent.parent).record
    return record if checkpoint.parent.name == CHECKPOINTS and record.is_file() else None


def _best_files(last: Path) -> list[str]:
    """The best file of each ``ModelCheckpoint`` with a ``monitor``, as ``last`` has it; '' before the first one."""
    states = read_file(last, mmap=True).get("callbacks", {})
    return [state.get("best_model_path") or "" for state in states.values() if state.get("monitor")]


def _best_known_to(last: Path) -> Path | None:
    found = [last.parent / Path(path).name for path in _best_files(last) if path]
    return found[0] if found and found[0].is_file() else None
