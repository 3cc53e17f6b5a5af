"""Bad samples while training: what happens at one that cannot be read, and how many there were."""

import logging
from typing import Any, Literal

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from data_modules.base import attached_data
from mpma_lightning.evaluation.epoch import gather_objects

LOG = logging.getLogger("lightning.pytorch")


class BadSamples(Callback):
    """Under ``skip``, a line for every bad sample when it is met first, on the rank that met it; the count over all
    ranks in ``train/skipped_samples`` at the end of each epoch and of the training.

    Args:
        policy: a training sample whose image cannot be read or whose text is empty stops the run (``error``), or the
            next one takes its place and it is counted (``skip``), so that all ranks have as many batches. Evaluation
            always stops: a score over other samples is another score.
    """

    def __init__(self, policy: Literal["error", "skip"] = "error") -> None:
        self.policy = policy
        self.seen: set[str] = set()
        self._told = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        attached_data(trainer).skip_bad_samples = self.policy == "skip"

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if isinstance(batch, dict):
            for line in (line for lines in batch.get("skipped", ()) for line in lines):
                if line not in self.seen:
                    self.seen.add(line)
                    LOG.warning(f"sample skipped, another takes its place: {line}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        everywhere = set().union(*gather_objects(self.seen))
        if everywhere:
            pl_module.log("train/skipped_samples", float(len(everywhere)), rank_zero_only=False)
        if len(everywhere) > self._told:
            self._told = len(everywhere)
            rank_zero_warn(f"{self._told} training samples cannot be read and are skipped (bad_samples.policy)")
