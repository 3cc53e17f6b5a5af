"""fit, validate, test and predict: Lightning's command line with stable run folders and configs that always win."""

import pkgutil
import signal
import sys
from argparse import ArgumentError
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace, set_parsing_settings
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from data_modules.errors import UserError
from mpma_lightning.callbacks.bad_samples import BadSamples
from mpma_lightning.callbacks.collapse import Collapse
from mpma_lightning.callbacks.efficiency import Efficiency
from mpma_lightning.callbacks.liveness import Liveness
from mpma_lightning.callbacks.non_finite import NonFinite
from mpma_lightning.callbacks.predictions import Predictions
from mpma_lightning.cli.always_on import always_on
from mpma_lightning.cli.backbone_name import MODE, name_backbones, name_backbones_in_files, refuse_unknown_backbone
from mpma_lightning.cli.close import close
from mpma_lightning.cli.config_files import config_arguments, defaults_file
from mpma_lightning.cli.explain import Explainer
from mpma_lightning.cli.faults import explain_fault
from mpma_lightning.cli.mistakes import one_line_errors
from mpma_lightning.cli.precision_choice import allow_auto, chosen_precision
from mpma_lightning.cli.quiet import silence_noise
from mpma_lightning.cli.trainer_parts import (
    listed,
    loggers_for,
    plugins_for,
    progress_for,
    refuse_half_on_cpu,
    remedy,
    remove_callbacks_without_use,
)
from mpma_lightning.cli.trust import take_flag
from mpma_lightning.runs.choice import RANDOM, checkpoint_to_continue, checkpoint_to_evaluate
from mpma_lightning.runs.cost_card import CostCard
from mpma_lightning.runs.folder import CONFIG_NAME, Run, run_folder
from mpma_lightning.runs.identity import check_continues, check_holds_optimiser, check_same_split, recorded
from mpma_lightning.runs.interruption import Interruption
from mpma_lightning.runs.owner import owned
from mpma_lightning.runs.record import RunRecord
from mpma_lightning.tasks.base import Task

SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_HOLDING_CLASSES = ("mpma_lightning.tasks", "mpma_lightning.callbacks", "data_modules")
_FIT_CALLBACKS: dict[str, type[Callback]] = {
    "non_finite": NonFinite,
    "collapse": Collapse,
    "bad_samples": BadSamples,
    "efficiency": Efficiency,
}
"""Callbacks of every ``fit``; their arguments are set with ``--<name>.<argument>``."""


class TrainingCLI(LightningCLI):
    """Parses, instantiates and runs one of the four subcommands. The config takes precedence over any checkpoint."""

    def __init__(
        self, task: type[LightningModule], data: type[LightningDataModule], argv: Sequence[str], owner: ExitStack
    ) -> None:
        self.owner, self.words = owner, list(argv)
        self.run_folder = run_folder(config_arguments(argv))
        self.only = subcommand = argv[0]
        super().__init__(
            task,
            data,
            args=name_backbones(argv),
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=42,
            auto_configure_optimizers=False,
            trainer_defaults={"callbacks": [Liveness(), CostCard(), Interruption()]},
            save_config_callback=RunRecord,
            save_config_kwargs={
                "save_to_log_dir": False,
                "config_filename": CONFIG_NAME if subcommand == "fit" else f"{subcommand}.yaml",
            },
            parser_kwargs={
                "prog": "python -m mpma_lightning",
                "parser_mode": MODE,
                "exit_on_error": False,
                subcommand: {"default_config_files": [str(defaults_file())]},
            },
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # Lightning's is static, and called by self
        """The one of this command: parsers of the others would be built and searched for nothing."""
        return {self.only: super().subcommands()[self.only]}

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        allow_auto(parser)
        parser.set_defaults({"trainer.default_root_dir": str(self.run_folder), "weights_only": True})
        if subcommand == "predict":
            parser.set_defaults({"return_predictions": False})  # they are written batch by batch
            about = "write the file of another program instead, such as rexrank or radeval of report generation"
            parser.add_argument("--to", type=str | None, default=None, help=about)
        if subcommand in ("validate", "test"):
            parser.set_defaults({"verbose": False})  # the headlines; true: all metrics
        if subcommand == "fit":
            parser.set_defaults({"ckpt_path": "last"})
            for name, callback in _FIT_CALLBACKS.items():
                parser.add_lightning_class_args(callback, name)
        return parser

    def _parse_ckpt_path(self) -> None:
        """Keep the config: Lightning would overwrite it with the hyper-parameters of the checkpoint."""

    def _dump_config(self) -> None:
        """Like Lightning's, without checking again what has just been parsed."""
        if not hasattr(self, "config_dump"):
            self.config_dump = plain(self.parser, self.config, skip_link_targets=False)[self.only]

    def before_instantiate_classes(self) -> None:
        """Lock the run folder, choose the checkpoint, and refuse to continue or evaluate a run of other settings."""
        settings = self.config[self.subcommand]
        run = Run(Path(settings.trainer.default_root_dir))
        self.run_folder = run.folder
        remove_callbacks_without_use(settings.trainer)
        self._dump_config()
        refuse_unknown_backbone(self.config_dump["model"])
        trial = bool(settings.trainer.fast_dev_run)  # neither reads nor writes the run
        if self.subcommand == "fit":
            if not trial:
                self.owner.enter_context(owned(run.folder))
            self._checkpoint = checkpoint_to_continue(run, settings.ckpt_path, trial)
        else:
            init = self.config_dump["model"].get("init_args", {})
            self.save_config_kwargs["allow_random"] = settings.ckpt_path == RANDOM
            self._checkpoint = checkpoint_to_evaluate(
                run, settings.ckpt_path, init.get("checkpoint"), str(self.subcommand)
            )
        if self._checkpoint is not None:
            self._check(run, self._checkpoint)

    def _check(self, run: Run, checkpoint: Path) -> None:
        """UserError unless the checkpoint can be read and this command may continue or evaluate its run."""
        known = recorded(checkpoint)  # UserError where the file is damaged
        if self.subcommand == "fit":
            check_holds_optimiser(checkpoint)
        if self.subcommand == "fit" and run.record.is_file() and run.checkpoints():
            check_continues(run, self.config_dump, self._with_defaults, sizes_are_known="sizes" in known)
        if self.subcommand in ("validate", "test"):  # `predict` scores nothing
            check_same_split(checkpoint, self.config_dump)

    def _with_defaults(self, settings: dict[str, Any]) -> dict[str, Any]:
        """``settings`` with the defaults of arguments that they lack; unchanged where they cannot be parsed."""
        parser = self._parser(self.subcommand)
        try:
            return plain(parser, parser.parse_object(settings))
        except ArgumentError:
            return settings

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Like Lightning's, with errors about a setting, such as an accelerator that is absent, as one line."""
        try:
            settings = self.config_init[self.subcommand].trainer
            callbacks = always_on(self.model, listed(settings.callbacks), self._best_checkpoints(settings))
            for callback in callbacks:
                if self.subcommand == "predict" and isinstance(callback, Predictions):
                    callback.to = self.config_init[self.subcommand].to or callback.to
            callbacks += progress_for(settings, callbacks)
            more = {"plugins": plugins_for(settings.plugins), "logger": loggers_for(settings.logger)}
            more["precision"] = chosen_precision(settings.precision, settings.accelerator)
            trainer = super().instantiate_trainer(callbacks=callbacks, **more, **kwargs)
        except (ValueError, TypeError, MisconfigurationException) as error:
            raise UserError(f"trainer: {' '.join(str(error).split())}{remedy(settings, str(error))}") from None
        refuse_half_on_cpu(trainer, settings)
        return trainer

    def _best_checkpoints(self, trainer: Namespace) -> str | None:
        """Folder of the best checkpoint; None where none is chosen."""
        validates = trainer.limit_val_batches != 0 and trainer.enable_checkpointing is not False
        return str(self.run_folder / "checkpoints") if self.subcommand == "fit" and validates else None

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        kwargs = super()._prepare_subcommand_kwargs(subcommand)
        if "verbose" in kwargs:
            kwargs["verbose"] = False  # Lightning's table; ours comes at the end
        return kwargs | {"ckpt_path": self._checkpoint and str(self._checkpoint)}

    def _run_subcommand(self, subcommand: str) -> None:
        try:
            super()._run_subcommand(subcommand)
            if isinstance(self.model, Task):
                close(self.trainer, subcommand, self.words, self.config[subcommand].get("verbose", False))
        except SystemExit as leaving:
            interrupted = isinstance(leaving.__context__, KeyboardInterrupt)  # Lightning turns Ctrl-C into exit(1)
            if subcommand != "fit" and interrupted:
                raise KeyboardInterrupt from None
            if not interrupted and not isinstance(leaving, SIGTERMException):
                raise
            last = Run(self.run_folder).last_file
            again = f"continues from {last}" if last.is_file() else "starts again: no checkpoint was written yet"
            if interrupted:
                raise KeyboardInterrupt(f"{leaving.__context__}the same command {again}") from None
            print(f"stopped by SIGTERM: the same command {again}", file=sys.stderr)
            raise SystemExit(128 + signal.SIGTERM) from None
        except Exception as error:
            if (fault := explain_fault(error, self.datamodule)) is None:
                raise
            raise fault from None


def run_training(argv: Sequence[str]) -> None:
    """Run ``argv`` = [subcommand, …].

    Raises:
        UsageError: the command line or a config cannot be read as written.
        UserError: it can, but what it asks for is not possible.
        KeyboardInterrupt: stopped with Ctrl-C; its message says how to go on.
    """
    with one_line_errors(argv[0], partial(explainer, argv[0])), ExitStack() as owner:
        TrainingCLI(*classes(), argv, owner)


class CommandReader(TrainingCLI):
    """Reads command lines as ``subcommand`` does and runs nothing; its parser is built once."""

    def __init__(self, subcommand: str) -> None:
        with suppress(_ParserBuilt):
            super().__init__(*classes(), [subcommand], ExitStack())
        self.name = subcommand

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        raise _ParserBuilt

    def settings(self, argv: Sequence[str]) -> dict[str, Any]:
        """The effective config of ``argv`` = [subcommand, …]; raises as :func:`run_training` does."""
        with one_line_errors(argv[0], partial(explainer, argv[0])):
            config = self.parser.parse_args(name_backbones(take_flag(argv)[0]))[self.name]
            remove_callbacks_without_use(config.trainer)
            return plain(self._parser(self.name), config)


def plain(parser: LightningArgumentParser, config: Any, **options: bool) -> dict[str, Any]:
    """A parsed config as plain types, nulls too; not checked again."""
    text = parser.dump(config, skip_none=False, skip_validation=True, **options)
    found: dict[str, Any] = yaml.load(text, Loader=SafeLoader)
    return found


class _ParserBuilt(Exception):
    pass


def classes() -> tuple[type[LightningModule], type[LightningDataModule]]:
    silence_noise()
    name_backbones_in_files()
    set_parsing_settings(omegaconf_absolute_to_relative_paths=True)
    for package in _HOLDING_CLASSES:
        import_all(package)
    return base_classes()


def base_classes() -> tuple[type[LightningModule], type[LightningDataModule]]:
    """What ``model`` and ``data`` of a config must be."""
    from data_modules.base import DataModule

    return Task, DataModule


def import_all(package: str) -> None:
    """Import every module of ``package``, so that its classes can be named without their path."""
    for module in pkgutil.walk_packages(import_module(package).__path__, f"{package}."):
        import_module(module.name)


def explainer(subcommand: str) -> Explainer:
    task, data = base_classes()
    bases = {"model": task, "data": data, "trainer.callbacks": Callback, "trainer.logger": Logger}
    parser = CommandReader(subcommand)._parser(subcommand)
    return Explainer(subcommand, bases, [action.dest for action in parser._actions])
