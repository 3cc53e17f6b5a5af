"""Writes the answers that ``predict`` gives: ``answers.jsonl``, one question a line, with probabilities."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from lightning.pytorch.utilities import rank_zero_info

from mpma_lightning.evaluation.epoch import gather_objects


class AnswerWriter(BasePredictionWriter):
    """``answers.jsonl`` in the run folder: id, question, prediction, and the likeliest answers with probabilities."""

    def __init__(self) -> None:
        super().__init__("epoch")

    def write_on_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule, predictions: Sequence[Any], batch_indices: Sequence[Any]
    ) -> None:
        mine = [
            dict(zip(batch, values, strict=True))
            for batch in predictions
            for values in zip(*batch.values(), strict=True)
        ]
        rows = [row for rank in gather_objects(mine) for row in rank]
        if not trainer.is_global_zero:
            return
        path = Path(trainer.default_root_dir) / "answers.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        rank_zero_info(f"{len(rows)} answers in {path}")
