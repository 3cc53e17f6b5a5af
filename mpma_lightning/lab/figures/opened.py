"""A run opened as `validate` and `test` open it, with its data and weights; nothing is written into it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from matplotlib.figure import Figure

from data_modules.base import DataModule, attached_data
from data_modules.errors import UsageError, UserError, suggest
from data_modules.loading.loader import collate
from data_modules.yaml_files import read_yaml
from mpma_lightning.backbones.tensor_files import read_file
from mpma_lightning.cli.config_files import check_config_files
from mpma_lightning.cli.faults import explain_fault
from mpma_lightning.cli.mistakes import one_line_errors
from mpma_lightning.cli.training import TrainingCLI, classes, explainer
from mpma_lightning.lab.figures.wanted import Drawn, Wanted
from mpma_lightning.runs.choice import checkpoint_to_evaluate
from mpma_lightning.runs.folder import CONFIG_NAME, Run
from mpma_lightning.tasks.base import Task
from mpma_lightning.tasks.pretraining import PretrainingTask

COMMANDS = {"val": "validate", "test": "test"}
_RECORDS = {"val": (CONFIG_NAME, "validate.yaml", "test.yaml"), "test": ("test.yaml", CONFIG_NAME, "validate.yaml")}
"""Configs that a run folder may hold, the one to draw from first."""


@dataclass
class Opened:
    """A run with its weights.

    Attributes:
        stage: ``val`` or ``test``.
        ids: the samples that were asked for; empty: none in particular.
    """

    task: Task
    data: DataModule
    stage: str
    ids: Sequence[str]

    def all_ids(self) -> list[str]:
        """The samples of the split."""
        return list(self.data.samples(self.stage).table.column("id").to_pylist())

    def batches(self, places: Sequence[int] | None = None) -> Iterator[dict[str, Any]]:
        """Batches of the split, or of the samples at ``places`` in it, where the task computes."""
        samples = self.data.samples(self.stage)
        rows = range(len(samples)) if places is None else places
        for start in range(0, len(rows), self.data.batch_size):
            batch = collate([samples[i] for i in rows[start : start + self.data.batch_size]])
            yield self.task.trainer.strategy.batch_to_device(batch)

    def shown(self, count: int) -> dict[str, Any]:
        """The batch of the samples that were asked for, else the first one with what the task's figures show.

        Raises:
            UserError: there is none.
        """
        if self.ids:
            known = {name: place for place, name in enumerate(self.all_ids())}
            self.data.batch_size = len(self.ids)
            return next(self.batches([known[name] for name in self.ids]))
        self.data.batch_size = max(count, self.data.batch_size)
        for batch in self.batches():
            if self.task.shows_annotation(batch):
                return batch
        raise UserError(f"no sample of the {self.stage} split has what this figure shows; choose another with --split")


Draw = Callable[[Opened], Mapping[str, Figure]]


def drawn(wanted: Wanted, draw: Draw, name: str, whole: bool = False, patients: bool = True) -> Drawn:
    """The figure ``name`` among what ``draw`` returns for the run.

    Args:
        wanted: of one run.
        draw: called with the run; of ``whole``, after an evaluation of the whole split.
        name: of the figure; ``{stage}`` in it is the stage.
        whole: see ``draw``.
        patients: whether the figure shows images or texts.

    Raises:
        UserError: no such run, id or split, or the run has no such figure.
    """
    folder, split = wanted.runs[0], _split(wanted)
    record = next((folder / file for file in _RECORDS[split] if (folder / file).is_file()), None)
    if record is None:
        near = suggest(folder.name, [path.name for path in folder.parent.glob("*") if (path / CONFIG_NAME).is_file()])
        raise UserError(f"{folder} is not a run folder: it holds no {CONFIG_NAME}{near}")
    check_config_files([record], wanted.trusted)
    content = {key: value for key, value in read_yaml(record).items() if key in ("seed_everything", "model", "data")}
    words = [COMMANDS[split], "--config", yaml.safe_dump(content), "--trainer.default_root_dir", str(folder)]
    hook = _Drawing(draw, split, wanted.ids, whole)
    try:
        with one_line_errors(words[0], partial(explainer, words[0])), ExitStack() as owner:
            opened = _FigureCLI(words, wanted.checkpoint, hook, owner)
    except UsageError as error:
        raise UserError(
            f"{record} is of another version of mpma_lightning: {error}; draw with that version, or fit the run again"
        ) from None
    name = name.format(stage=split)
    if name not in hook.found:
        has = ", ".join(sorted(hook.found)) or "nothing"
        raise UserError(f"{folder} is of {type(opened.model).__name__}, which draws {has} of these samples, no {name}")
    return Drawn(hook.found[name], opened.told(split, hook.ids), patients and not opened.datamodule.phantom)


def _split(wanted: Wanted) -> str:
    """Pre-training shows validation, as its pictures do; other tasks their test."""
    if wanted.split is not None:
        return wanted.split
    for file in _RECORDS["val"]:
        if (wanted.runs[0] / file).is_file():
            kind = str((read_yaml(wanted.runs[0] / file).get("model") or {}).get("class_path"))
            return "val" if kind.endswith(PretrainingTask.__name__) else "test"
    return "test"


class _Finished(Exception):
    """What was asked for is drawn; the rest of the evaluation is not needed."""


class _Drawing(Callback):
    """Draws once the weights are loaded, or, of ``whole``, at the end."""

    def __init__(self, draw: Draw, stage: str, ids: Sequence[str], whole: bool) -> None:
        self.draw, self.stage, self.ids, self.whole = draw, stage, ids, whole
        self.found: Mapping[str, Figure] = {}

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        assert isinstance(pl_module, Task)
        opened = Opened(pl_module, attached_data(trainer), self.stage, self.ids)
        known = opened.all_ids()
        if unknown := [name for name in self.ids if name not in known]:
            raise UserError(f"--ids {unknown[0]}: no sample of the {self.stage} split{suggest(unknown[0], known)}")
        if self.whole:
            pl_module.figure_ids = self.ids or None
            return
        self.found = self.draw(opened)
        raise _Finished

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Task)
        with torch.no_grad():
            self.found = self.draw(Opened(pl_module, attached_data(trainer), self.stage, self.ids))

    on_test_batch_start, on_test_end = on_validation_batch_start, on_validation_end


class _FigureCLI(TrainingCLI):
    """Opens a run with its own checkpoint, and evaluates as far as the figure needs it."""

    def __init__(self, words: Sequence[str], asked: str | None, drawing: _Drawing, owner: ExitStack) -> None:
        self.asked, self.drawing = asked, drawing
        super().__init__(*classes(), words, owner)

    def before_instantiate_classes(self) -> None:
        run = Run(Path(self.config[self.subcommand].trainer.default_root_dir))
        self.run_folder = run.folder
        self._dump_config()
        source = self.config_dump["model"].get("init_args", {}).get("checkpoint")
        self._checkpoint = checkpoint_to_evaluate(run, self.asked, source, str(self.subcommand))
        if self._checkpoint is None and source is None:
            raise UserError(f"{run.folder} holds no checkpoint and names no model.checkpoint; fit it first")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        on_cpu = self.config_init[self.subcommand].trainer.accelerator == "cpu"
        return Trainer(
            accelerator="cpu" if on_cpu else "auto",
            devices=1,
            logger=False,
            callbacks=[self.drawing],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=self.run_folder,
        )

    def _run_subcommand(self, subcommand: str) -> None:
        self.datamodule.num_workers = 0
        evaluate = getattr(self.trainer, subcommand)
        try:
            evaluate(self.model, datamodule=self.datamodule, verbose=False, ckpt_path=self._ckpt(), weights_only=True)
        except _Finished:
            return
        except Exception as error:
            if (fault := explain_fault(error, self.datamodule)) is None:
                raise
            raise fault from None
        if not self.drawing.found and not self.drawing.whole:
            raise UserError(f"{self.run_folder}: its data have no {self.drawing.stage} split; choose another: --split")

    def _ckpt(self) -> str | None:
        return str(self._checkpoint) if self._checkpoint else None

    def told(self, split: str, ids: Sequence[str]) -> list[str]:
        """Sentences of the caption: run, weights and their step, protocol, data and samples."""
        weights = self._checkpoint or self.model.source.path
        said = [f"Run {self.run_folder.resolve().name}: {weights_said(weights)}, protocol {self.model.protocol}."]
        synthetic = ", a phantom" if self.datamodule.phantom else ""
        said.append(f"Data: {self.datamodule.spec.name}{synthetic}, {split} split.")
        return [*said, f"Samples: {', '.join(ids)}."] if ids else said


def weights_said(file: Path) -> str:
    """``checkpoint best.ckpt of step 700``; the name alone of files that know no step."""
    step = read_file(file, mmap=True).get("global_step") if file.suffix == ".ckpt" and file.is_file() else None
    name = file.name if file.suffix else f"{file.parent.name}/{file.name}"
    return f"checkpoint {name}" + (f" of step {step:,}" if isinstance(step, int) else "")
