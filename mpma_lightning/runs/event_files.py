"""TensorBoard's files of a run: none of a run that failed before it logged anything, and no empty ``hparams.yaml``."""

import os
from pathlib import Path
from typing import Any, Self

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only


class EventFiles(TensorBoardLogger):
    """Lightning's logger without what it leaves behind for nothing."""

    _logged = False
    _others: set[Path]
    """Event files of earlier commands in the same folder."""

    @classmethod
    def like(cls, given: TensorBoardLogger) -> Self:
        """A logger with the settings of ``given``, which has written nothing yet."""
        made = cls.__new__(cls)
        vars(made).update(vars(given))
        made._others = made._files()
        return made

    def _files(self) -> set[Path]:
        return set(Path(self.log_dir).glob("events.out.tfevents.*"))

    @rank_zero_only
    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self._logged = True
        super().log_metrics(metrics, step)

    @rank_zero_only
    def save(self) -> None:
        """Hyper-parameters go into ``hparams.yaml`` where there are any; ``config.yaml`` has those of every run."""
        if self.hparams:
            super().save()
        elif self._experiment is not None:
            self._experiment.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Remove the event file of a failed run that holds nothing."""
        super().finalize(status)
        if status == "success" or self._logged or self._experiment is None:
            return
        for file in self._files() - self._others:
            if f".{os.getpid()}." in file.name:
                file.unlink()
