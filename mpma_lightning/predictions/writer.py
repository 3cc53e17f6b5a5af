"""PredictionWriter: the interface of all writers of predictions."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class PredictionWriter(ABC):
    """Receives the batches of ``predict`` on every rank; each ``predict`` has a new writer.

    Attributes:
        file: name of the file or folder in the run folder.
    """

    file: str

    def begin(self, folder: Path, ids: Sequence[str]) -> None:
        """Called before the first batch.

        Args:
            folder: the run folder.
            ids: of all samples of all ranks.

        Raises:
            UserError: the predictions cannot be written.
        """
        self.path = folder / self.file

    @abstractmethod
    def add(self, prediction: dict[str, Any]) -> None:
        """Add a batch, as ``Task.predict`` returns it; ``id`` is a list of B names."""

    @abstractmethod
    def held(self) -> Any:
        """What this process sends to rank 0 after its last batch."""

    @abstractmethod
    def write(self, ranks: list[Any]) -> str:
        """On rank 0: write :meth:`held` of every rank, as far as it is not written yet; returns a line for the log."""
