"""Training samples that cannot be read: stop, or replace and count them."""

import logging
from typing import Any, Literal

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from data_modules.base import attached_data
from mpma_lightning.evaluation.epoch import gather_objects

LOG = logging.getLogger("lightning.pytorch")


class BadSamples(Callback):
    """Under ``skip``, warns once about each bad sample, and logs their number over all ranks as
    ``train/skipped_samples`` at the end of each epoch.

    Args:
        policy: what to do with a training sample whose image cannot be read or whose text is empty: ``error`` stops the
            run; ``skip`` takes the next sample instead and counts it, so that all ranks keep the same number of
            batches. Evaluation always stops, because a metric over other samples is not comparable.
    """

    def __init__(self, policy: Literal["error", "skip"] = "error") -> None:
        self.policy = policy
        self.seen: set[str] = set()
        self._reported = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        attached_data(trainer).skip_bad_samples = self.policy == "skip"

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if isinstance(batch, dict):
            for line in (line for lines in batch.get("skipped", ()) for line in lines):
                if line not in self.seen:
                    self.seen.add(line)
                    LOG.warning(f"sample skipped, the next one takes its place: {line}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        everywhere = set().union(*gather_objects(self.seen))
        if everywhere:
            pl_module.log("train/skipped_samples", float(len(everywhere)), rank_zero_only=False)
        if len(everywhere) > self._reported:
            self._reported = len(everywhere)
            rank_zero_warn(f"{self._reported} training samples cannot be read and are skipped (bad_samples.policy)")
