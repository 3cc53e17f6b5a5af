"""Writes what a run was: its effective config, the versions, and its last step."""

import json
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_info

from mpma_lightning.runs.folder import CONFIG_NAME, config_sha256, versions


class RunRecord(SaveConfigCallback):
    """``config.yaml`` and ``versions.json`` for fit, ``test.yaml`` and ``test.versions.json`` for test, and so on.

    ``identity`` is what the result row says of config and code.
    """

    identity: dict[str, str | None]

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Rank 0 only, before the first batch."""
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{self.config_filename}.partial"
        self.parser.save(self.config, str(partial), skip_none=False, overwrite=True, multifile=False)
        partial.replace(folder / self.config_filename)
        found = versions()
        settings = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        self.identity = {"config_sha256": config_sha256(settings, stage), "commit": found.get("commit")}
        prefix = "" if self.config_filename == CONFIG_NAME else f"{Path(self.config_filename).stem}."
        (folder / f"{prefix}versions.json").write_text(json.dumps(found, indent=2) + "\n")

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """One line that says that, and where, a run goes on."""
        if trainer.state.fn == "fit":
            rank_zero_info(f"continuing {trainer.default_root_dir} at step {checkpoint['global_step']}")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """No periodic checkpoint of the last step before its validation: continued there, a run ends unmeasured."""
        if trainer.global_step >= trainer.estimated_stepping_batches:
            for callback in trainer.checkpoint_callbacks:
                if isinstance(callback, ModelCheckpoint) and callback.save_last and callback.monitor is None:
                    callback._last_global_step_saved = trainer.global_step  # as if it had; on_train_end saves it

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last step: ``ModelCheckpoint(every_n_train_steps=100)`` alone would leave step 150 at 100."""
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.save_last and callback.dirpath:
                name = f"{callback.CHECKPOINT_NAME_LAST}{callback.FILE_EXTENSION}"
                trainer.save_checkpoint(Path(callback.dirpath, name), weights_only=callback.save_weights_only)
