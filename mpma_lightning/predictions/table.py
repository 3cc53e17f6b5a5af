"""A table with one row per sample: ids and features or scores, as Parquet, Arrow or safetensors."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from data_modules.errors import UserError
from data_modules.files import whole_file
from mpma_lightning.predictions.writer import PredictionWriter

Columns = dict[str, list[Any]]


class TableWriter(PredictionWriter):
    """Writes ``id`` and a column for each other entry of a prediction: a number or a list of numbers per sample.

    Args:
        file: its ending sets the format: ``.parquet``, ``.arrow`` (Arrow's file format, for memory mapping) or
            ``.safetensors`` (one float32 tensor per column; the metadata entry ``id`` is a JSON list of the ids).
    """

    def begin(self, folder: Path, ids: Sequence[str]) -> None:
        super().begin(folder, ids)
        if self.path.suffix not in FORMATS:
            raise UserError(f"the file of Predictions is {self.file!r}; expected an ending of {', '.join(FORMATS)}")

    def write(self, rows: list[dict[str, Any]]) -> str:
        merged = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
        line = f"{len(merged.get('id', []))} samples: {', '.join(merged)} in {self.path}"
        with whole_file(self.path) as partial:
            FORMATS[self.path.suffix](merged, partial)
        return line


def _parquet(columns: Columns, path: Path) -> None:
    pq.write_table(pa.table(columns), path)


def _arrow(columns: Columns, path: Path) -> None:
    feather.write_feather(pa.table(columns), path, compression="uncompressed")


def _safetensors(columns: Columns, path: Path) -> None:
    ids = json.dumps(columns.pop("id", []))
    save_file({name: np.array(rows, np.float32) for name, rows in columns.items()}, path, {"id": ids})


FORMATS: dict[str, Callable[[Columns, Path], None]] = {
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".safetensors": _safetensors,
}
