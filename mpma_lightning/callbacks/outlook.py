"""What a training will be, said before it starts: its steps, and what is small about its data."""

from datetime import timedelta
from typing import cast

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_info

from data_modules.base import attached_data
from data_modules.loading.small_print import small_print


class Outlook(Callback):
    """Prints the number of steps, and a line each for samples that are left out, a small validation set, texts that are
    cut, and checkpoints that come later than the end of the run."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.optimizers or not trainer.is_global_zero:  # such as a linear probe, which encodes once
            return
        data, accumulate = attached_data(trainer), trainer.accumulate_grad_batches
        steps, epoch = trainer.estimated_stepping_batches, trainer.num_training_batches / accumulate
        weights = sum(parameter.numel() for parameter in pl_module.parameters() if parameter.requires_grad)
        rank_zero_info(
            f"training {weights / 1e6:,.1f} million weights for {steps:,.0f} steps, {max(epoch, 1):,.0f} an epoch, "
            f"{data.batch_size * trainer.world_size * accumulate:,} samples a step"
        )
        lines = [*small_print(data, trainer.world_size, accumulate), *self._checkpoints(trainer, steps)]
        for line in lines:
            rank_zero_info(f"  note: {line}")

    def _checkpoints(self, trainer: Trainer, steps: float) -> list[str]:
        kept = [it for it in trainer.checkpoint_callbacks if isinstance(it, ModelCheckpoint) and it.monitor is None]
        timed = [it for it in kept if cast(timedelta | None, it._train_time_interval) is not None]
        every = [it._every_n_train_steps for it in kept if it._every_n_train_steps > 0]
        if timed or not every or min(every) <= steps - trainer.global_step:
            return []
        return [
            f"a checkpoint comes every {min(every):,} steps and the run has {steps - trainer.global_step:,.0f} left: "
            "it is written at the end, and at Ctrl-C"
        ]
