"""Writes what ``predict`` returns, one row a sample: ids and features or scores, as Parquet, Arrow or safetensors."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from lightning.pytorch.utilities import rank_zero_info
from safetensors.numpy import save_file
from torch import Tensor

from data_modules.errors import UserError
from mpma_lightning.evaluation.epoch import gather_objects

Columns = dict[str, list[Any]]


class FeatureWriter(BasePredictionWriter):
    """``id``, and a number or a list of numbers for everything the task returns.

    Args:
        file: name in the run folder. Its ending decides: ``.parquet``, ``.arrow`` (Arrow's file format, to be mapped
            into memory) or ``.safetensors`` (a float32 tensor a column; the ids are the metadata entry ``id``, a JSON
            list).
    """

    def __init__(self, file: str = "features.parquet") -> None:
        super().__init__("epoch")
        self.file = file
        if Path(file).suffix not in WRITERS:
            raise UserError(f"FeatureWriter's file is {file!r}; expected an ending of {', '.join(WRITERS)}")

    def write_on_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule, predictions: Sequence[Any], batch_indices: Sequence[Any]
    ) -> None:
        columns: Columns = {}
        for batch in predictions:
            for name, values in batch.items():
                rows = values.float().cpu().tolist() if isinstance(values, Tensor) else list(values)
                columns.setdefault(name, []).extend(rows)
        ranks = gather_objects(columns)
        if not trainer.is_global_zero:
            return
        names = next((list(rank) for rank in ranks if rank), [])
        merged = {name: [row for rank in ranks for row in rank.get(name, [])] for name in names}
        path = Path(trainer.default_root_dir) / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        WRITERS[path.suffix](merged, path)
        rank_zero_info(f"{len(merged.get('id', []))} samples: {', '.join(merged)} in {path}")


def _parquet(columns: Columns, path: Path) -> None:
    pq.write_table(pa.table(columns), path)


def _arrow(columns: Columns, path: Path) -> None:
    feather.write_feather(pa.table(columns), path, compression="uncompressed")


def _safetensors(columns: Columns, path: Path) -> None:
    ids = json.dumps(columns.pop("id", []))
    save_file({name: np.array(rows, np.float32) for name, rows in columns.items()}, path, {"id": ids})


WRITERS: dict[str, Callable[[Columns, Path], None]] = {
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".safetensors": _safetensors,
}
