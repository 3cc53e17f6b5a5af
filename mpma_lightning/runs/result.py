"""The result record of a run: metrics, data, initial weights and cost."""

import json
import time
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from data_modules.base import attached_data
from data_modules.files import whole_file, write_whole
from mpma_lightning import __version__
from mpma_lightning.evaluation.samples import SampleTable
from mpma_lightning.runs.choice import RANDOM
from mpma_lightning.runs.cost_card import cost_of, peak_memory_mib
from mpma_lightning.runs.folder import Run
from mpma_lightning.runs.identity import file_sha256
from mpma_lightning.runs.initialisation import initialisation
from mpma_lightning.runs.record import RunRecord


class ResultRecord(Callback):
    """Writes ``results.json`` (fit) or ``results_<command>.json`` into the run folder, on rank 0, as a whole. That of
    ``predict`` has no metrics and says of which weights the predictions are.

    ``test`` also writes ``samples_test.parquet``, the values of each sample, for tasks that have them.

    ``seconds`` is the wall time of the stage: its batches, evaluations and checkpoints, not the reading of tables and
    the building of the model before. A continued run adds what its checkpoint had taken; continued at its end, it
    writes the metrics that were measured there.
    """

    state_key = "ResultsRow"  # as older checkpoints call it
    record: dict[str, Any] | None = None
    """What was written last."""

    def __init__(self) -> None:
        self._measured: dict[str, Any] = {"metrics": {}, "declared": {}}
        self._begin()

    def _begin(self, seconds: float = 0.0, samples: int = 0) -> None:
        self._start = time.monotonic() - seconds
        self._samples = samples

    def state_dict(self) -> dict[str, Any]:
        """Part of every checkpoint, for a run that is continued."""
        return {"seconds": time.monotonic() - self._start, "samples": self._samples, **self._measured}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._begin(state_dict["seconds"], state_dict["samples"])
        self._measured = {"metrics": state_dict["metrics"], "declared": state_dict.get("declared", {})}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._measured = _measured(trainer, pl_module)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.ckpt_path is None:
            self._begin()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit":
            self._begin()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any, **__: Any
    ) -> None:
        if trainer.training or trainer.state.fn != "fit":  # the validations within fit do not count
            self._samples += len(batch["id"]) * trainer.world_size

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit":
            self._write(trainer, pl_module)

    on_test_start, on_test_end = on_validation_start, on_validation_end
    on_predict_start, on_predict_end = on_validation_start, on_validation_end
    on_validation_batch_end = on_test_batch_end = on_predict_batch_end = on_train_batch_end

    def _write(self, trainer: Any, task: Any) -> None:
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        command = trainer.state.fn.value
        measured = _measured(trainer, task)
        if command == "fit":
            measured = {name: found or self._measured[name] for name, found in measured.items()}
        seconds = time.monotonic() - self._start
        data = attached_data(trainer)
        source = task.source.path if task.source else trainer.ckpt_path
        record = {
            "protocol": task.protocol,
            "task": type(task).__name__,
            "dataset": data.spec.name,
            "phantom": data.phantom,
            "manifest_hash": data.spec.manifest_hash,
            "split_sizes": data.spec.counts,
            "dropped": data.spec.dropped,
            "excluded_patients": data.spec.excluded,
            "data_notes": data.spec.notes,
            "texts_from_labels": data.spec.texts_from_labels,
            "label_fraction": data.spec.label_fraction,
            "train_ids_sha256": data.spec.train_ids_sha256,
            "seed": data.seed,
            "initialisation": initialisation(task),
            "checkpoint_parts": task.checkpoint_parts,
            "checkpoint": str(source) if source else None,
            "checkpoint_sha256": file_sha256(Path(source)) if source else None,
            **_weights(trainer, random=source is None and initialisation(task) == "random"),
            "backbone": task.spec.plain(),
            "parameters": task.backbone.count_parameters(),
            "precision": str(trainer.precision),
            "steps": trainer.global_step,
            **measured,
            "seconds": round(seconds, 1),
            "samples_per_second": round(self._samples / seconds, 1),
            "peak_memory_mib": round(peak_memory_mib(), 0),
            "cost": cost_of(trainer),
            "version": __version__,
            **_identity(trainer),
            **({} if command == "predict" else task.result_entries()),
        }
        self.record = record
        folder = Path(trainer.default_root_dir)
        if command == "test":  # before the record, which says that all is there
            _write_samples(task.samples, folder / "samples_test.parquet")
        name = "results.json" if command == "fit" else f"results_{command}.json"
        write_whole(folder / name, json.dumps(record, indent=2) + "\n", within=folder)


def _write_samples(samples: SampleTable | None, path: Path) -> None:
    path.unlink(missing_ok=True)
    if samples is not None:
        with whole_file(path) as partial:
            samples.frame().to_parquet(partial, index=False)


def _measured(trainer: Any, task: Any) -> dict[str, dict[str, Any]]:
    """The logged values by name, and what each declared metric means."""
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return {"metrics": metrics, "declared": {name: metric.declaration() for name, metric in task.declared.items()}}


def _weights(trainer: Any, random: bool) -> dict[str, str | None]:
    """The file this run wrote (fit) or was given by ``ckpt_path``, and its hash; ``random`` where random weights were
    evaluated on purpose."""
    written = Run(Path(trainer.default_root_dir)).last_file
    if random and trainer.state.fn != "fit":
        return {"weights": RANDOM, "weights_sha256": None}
    path = (written if written.is_file() else None) if trainer.state.fn == "fit" else trainer.ckpt_path
    return {"weights": str(path) if path else None, "weights_sha256": file_sha256(Path(path)) if path else None}


def _identity(trainer: Any) -> dict[str, str | None]:
    """Hash of the config and commit of the code; without the command line neither is known."""
    records = [callback for callback in trainer.callbacks if isinstance(callback, RunRecord)]
    return records[0].identity if records else {"config_sha256": None, "commit": None}
