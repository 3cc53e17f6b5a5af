"""The result row of a run: what was measured, on what, from what, at which cost."""

import json
import resource
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from mpma_lightning import __version__


class ResultsRow(Callback):
    """Writes ``results.json`` (fit) or ``results_<stage>.json`` into the run folder, atomically, on rank 0.

    ``seconds`` is the wall time of the stage of this process: its batches, evaluations and checkpoints, not the
    reading of tables and the building of the model before; a continued run counts from where it went on.

    Args:
        protocol: id of the evaluation protocol, such as ``ret-pairs``; rows of different ids never share a column. A
            task that knows its protocol names it itself.
    """

    def __init__(self, protocol: str = "pretraining") -> None:
        self.protocol = protocol
        self._start = time.monotonic()
        self._samples = 0

    def _begin(self) -> None:
        self._start = time.monotonic()
        self._samples = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "validate":
            self._begin()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin()

    def _count(self, trainer: Trainer, batch: Any) -> None:
        self._samples += len(batch["id"]) * trainer.world_size

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._count(trainer, batch)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._count(trainer, batch)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, pl_module, "results.json")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "validate":
            self._write(trainer, pl_module, "results_validate.json")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, pl_module, "results_test.json")

    def _write(self, trainer: Trainer, task: Any, name: str) -> None:
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        seconds = time.monotonic() - self._start
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        source = task.source.path if task.source else trainer.ckpt_path
        row = {
            "protocol": self.protocol,
            "task": type(task).__name__,
            "dataset": data.spec.name,
            "manifest_hash": data.spec.manifest_hash,
            "split_sizes": data.spec.counts,
            "dropped": data.spec.dropped,
            "excluded_patients": data.spec.excluded,
            "label_fraction": data.spec.label_fraction,
            "train_ids_sha256": data.spec.train_ids_sha256,
            "seed": data.seed,
            "initialisation": "checkpoint" if task.source and task.checkpoint_parts != [] else "random",
            "checkpoint_parts": task.checkpoint_parts,
            "checkpoint": str(source) if source else None,
            "checkpoint_sha256": sha256(Path(source).read_bytes()).hexdigest() if source else None,
            "backbone": task.spec.plain(),
            "parameters": task.backbone.count_parameters(),
            "steps": trainer.global_step,
            "metrics": {k: float(v) for k, v in trainer.callback_metrics.items()},
            "seconds": round(seconds, 1),
            "samples_per_second": round(self._samples / seconds, 1),
            "peak_memory_mib": round(_peak_memory_mib(), 0),
            "version": __version__,
            **task.result_entries(),
        }
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{name}.partial"
        partial.write_text(json.dumps(row, indent=2) + "\n")
        partial.replace(folder / name)


def _peak_memory_mib() -> float:
    """Of the accelerator where there is one, else resident memory of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
