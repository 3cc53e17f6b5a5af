"""Writes what ``predict`` returns: one row a sample, ids and features or scores, as Parquet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from mpma_lightning.metrics import gather_objects


class FeatureWriter(BasePredictionWriter):
    """``id``, and a number or a list of numbers for everything the task returns.

    Args:
        file: name in the run folder.
    """

    def __init__(self, file: str = "features.parquet") -> None:
        super().__init__("epoch")
        self.file = file

    def write_on_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule, predictions: Sequence[Any], batch_indices: Sequence[Any]
    ) -> None:
        columns: dict[str, list[Any]] = {}
        for batch in predictions:
            for name, values in batch.items():
                rows = values.float().cpu().tolist() if isinstance(values, Tensor) else list(values)
                columns.setdefault(name, []).extend(rows)
        ranks = gather_objects(columns)
        if not trainer.is_global_zero:
            return
        merged = {name: [row for rank in ranks for row in rank.get(name, [])] for name in ranks[0]}
        path = Path(trainer.default_root_dir) / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(merged), path)
        rank_zero_info(f"{len(merged['id'])} samples: {', '.join(merged)} in {path}")
