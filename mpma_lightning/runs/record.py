"""Writes the effective config and the versions of a run, and adds its settings to its checkpoints."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_info

from data_modules.base import attached_data
from data_modules.errors import UserError
from data_modules.files import write_whole
from mpma_lightning.runs.folder import CHECKPOINTS, CONFIG_NAME
from mpma_lightning.runs.identity import STATE_KEY, config_sha256, versions
from mpma_lightning.runs.initialisation import initialisation
from mpma_lightning.runs.interruption import save_last
from mpma_lightning.runs.sizes import Sizes
from mpma_lightning.tasks.base import Task


class RunRecord(SaveConfigCallback):
    """``config.yaml`` and ``versions.json`` for fit, ``test.yaml`` and ``test.versions.json`` for test, and so on.

    Every checkpoint holds the section ``data`` of the config and the sizes of the batches. ``identity`` goes into the
    result record: hash of the config, commit of the code.
    """

    identity: dict[str, str | None]

    def __init__(self, *args: Any, allow_random: bool = False, **kwargs: Any) -> None:
        """``allow_random``: random weights may be evaluated, as ``--ckpt_path random`` asks."""
        super().__init__(*args, **kwargs)
        self.allow_random = allow_random

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.content = self.parser.dump(self.config, skip_none=False, skip_validation=True)  # parsed, hence valid
        self.settings = yaml.load(self.content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        self.sizes = Sizes(attached_data(trainer).batch_size, trainer.world_size, trainer.accumulate_grad_batches)
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Rank 0 only, before the first batch."""
        folder = Path(trainer.default_root_dir)
        write_whole(folder / self.config_filename, self.content, within=folder)
        found = versions()
        self.identity = {"config_sha256": config_sha256(self.settings, stage), "commit": found.get("commit")}
        prefix = "" if self.config_filename == CONFIG_NAME else f"{Path(self.config_filename).stem}."
        write_whole(folder / f"{prefix}versions.json", json.dumps(found, indent=2) + "\n", within=folder)

    @property
    def state_key(self) -> str:
        return STATE_KEY

    def state_dict(self) -> dict[str, Any]:
        return {"data": self.settings.get("data"), "sizes": asdict(self.sizes)}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Print the step from which the run continues; refuse batches of another size."""
        if trainer.state.fn == "fit":
            if sizes := checkpoint.get("callbacks", {}).get(STATE_KEY, {}).get("sizes"):
                self.sizes.check_same_batches(Sizes(**sizes), trainer.default_root_dir)
            rank_zero_info(f"continuing {trainer.default_root_dir} at step {checkpoint['global_step']}")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """UserError if ``last.ckpt`` would be written to a folder in which the same command does not look for it."""
        place = Path(trainer.default_root_dir, CHECKPOINTS)
        for callback in trainer.checkpoint_callbacks:
            if not isinstance(callback, ModelCheckpoint) or not callback.save_last or not callback.dirpath:
                continue
            if "://" not in str(callback.dirpath) and Path(callback.dirpath).resolve() != place.resolve():
                raise UserError(
                    f"trainer.callbacks: ModelCheckpoint keeps last.ckpt in {callback.dirpath}; the same command "
                    f"continues from {place} alone: set dirpath to ${{trainer.default_root_dir}}/{CHECKPOINTS}"
                )

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "validate":
            self._refuse_random(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._refuse_random(trainer, pl_module)

    on_predict_start = on_test_start

    def _refuse_random(self, trainer: Any, task: LightningModule) -> None:
        """UserError if random weights would be evaluated without ``--ckpt_path random``."""
        given = trainer.ckpt_path is not None or self.allow_random or not isinstance(task, Task) or task.source
        if not given and initialisation(task) == "random":
            raise UserError(
                f"{trainer.state.fn.value}: the weights would be random, for {trainer.default_root_dir} holds no "
                "checkpoint and model.checkpoint is not set. Run fit first, or give --ckpt_path FILE or "
                "--model.checkpoint FILE; --ckpt_path random evaluates random weights on purpose"
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Prevent a periodic checkpoint of the last step: a run continued from it would skip its last validation."""
        if trainer.global_step >= trainer.estimated_stepping_batches:
            for callback in trainer.checkpoint_callbacks:
                if isinstance(callback, ModelCheckpoint) and callback.save_last and callback.monitor is None:
                    callback._last_global_step_saved = trainer.global_step  # as if it had; on_train_end saves it

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last step: ``ModelCheckpoint(every_n_train_steps=100)`` alone would leave step 150 at 100."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        save_last(trainer)
