"""The contract of a writer of predictions."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class PredictionWriter(ABC):
    """Takes the batches of ``predict`` one by one, on every rank; made anew for each ``predict``.

    Attributes:
        file: name of the file or folder in the run folder.
    """

    file: str

    def begin(self, folder: Path, ids: Sequence[str]) -> None:
        """Before the first batch. ``folder`` is the run folder, ``ids`` are those of all samples of all ranks.

        Raises:
            UserError: they cannot be written, such as two samples into one file; nothing has been written.
        """
        self.path = folder / self.file

    @abstractmethod
    def add(self, prediction: dict[str, Any]) -> None:
        """One batch: ``id``, a list of B names, and what the task's ``predict`` returns beside it."""

    @abstractmethod
    def held(self) -> Any:
        """What this process holds after its last batch, to be sent to rank 0."""

    @abstractmethod
    def write(self, ranks: list[Any]) -> str:
        """On rank 0: write what is not written yet, from :meth:`held` of every rank. Returns one line about it."""
