"""PredictionWriter: the interface of all writers of predictions."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor


class PredictionWriter(ABC):
    """Receives the batches of ``predict`` on every rank; each ``predict`` has a new writer.

    Args:
        file: name of the file or folder in the run folder.

    Attributes:
        rows: what this process sends to rank 0 after its last batch, an entry per sample.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.rows: list[Any] = []

    def begin(self, folder: Path, ids: Sequence[str]) -> None:
        """Called before the first batch.

        Args:
            folder: the run folder.
            ids: of all samples of all ranks.

        Raises:
            UserError: the predictions cannot be written.
        """
        self.path = folder / self.file

    def add(self, prediction: dict[str, Any]) -> None:
        """Add a batch, as ``Task.predict`` returns it: tensors (B, …) and lists of B entries, ``id`` among them."""
        columns = [v.float().cpu().tolist() if isinstance(v, Tensor) else v for v in prediction.values()]
        self.rows += [dict(zip(prediction, row, strict=True)) for row in zip(*columns, strict=True)]

    @abstractmethod
    def write(self, rows: list[Any]) -> str:
        """On rank 0: write the ``rows`` of all ranks, unless ``add`` has written them; returns a line for the log."""
