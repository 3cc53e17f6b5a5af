"""fit, validate, test and predict: Lightning's command line with stable run folders and configs that always win."""

import argparse
import pkgutil
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from traceback import walk_tb
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace, set_parsing_settings
from lightning.fabric.plugins import CheckpointIO, ClusterEnvironment
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from omegaconf.errors import OmegaConfBaseException

from data_modules.errors import UsageError, UserError
from mpma_lightning.backbones.checkpoint import read_file
from mpma_lightning.callbacks.bad_samples import BadSamples
from mpma_lightning.callbacks.collapse import Collapse
from mpma_lightning.callbacks.cost_card import CostCard
from mpma_lightning.callbacks.efficiency import Efficiency
from mpma_lightning.callbacks.liveness import Liveness
from mpma_lightning.callbacks.non_finite import NonFinite
from mpma_lightning.cli.always_on import always_on
from mpma_lightning.cli.config_files import config_arguments, defaults_file
from mpma_lightning.cli.explain import Explainer, one_line
from mpma_lightning.cli.faults import explain_fault
from mpma_lightning.cli.quiet import silence_noise
from mpma_lightning.runs.checkpoints import AtomicCheckpointIO, whole_checkpoint
from mpma_lightning.runs.folder import (
    CONFIG_NAME,
    best_checkpoint,
    check_continues,
    check_same_split,
    last_checkpoint,
    run_folder,
)
from mpma_lightning.runs.record import RunRecord

_HOLDING_CLASSES = ("mpma_lightning.tasks", "mpma_lightning.callbacks", "data_modules")
_FIT_CALLBACKS: dict[str, type[Callback]] = {
    "non_finite": NonFinite,
    "collapse": Collapse,
    "bad_samples": BadSamples,
    "efficiency": Efficiency,
}
"""Always there in ``fit``; their arguments are set as ``--<name>.<argument>``."""


class TrainingCLI(LightningCLI):
    """Parses, instantiates and runs one of the four subcommands. The written config wins over any checkpoint."""

    def __init__(self, task: type[LightningModule], data: type[LightningDataModule], argv: Sequence[str]) -> None:
        self.run_folder = run_folder(config_arguments(argv))
        subcommand = argv[0]
        super().__init__(
            task,
            data,
            args=list(argv),
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=42,
            auto_configure_optimizers=False,
            trainer_defaults={"callbacks": [Liveness(), CostCard()]},
            save_config_callback=RunRecord,
            save_config_kwargs={
                "save_to_log_dir": False,
                "config_filename": CONFIG_NAME if subcommand == "fit" else f"{subcommand}.yaml",
            },
            parser_kwargs={
                "parser_mode": "omegaconf+",
                "exit_on_error": False,
                subcommand: {"default_config_files": [str(defaults_file())]},
            },
        )

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        parser.set_defaults({"trainer.default_root_dir": str(self.run_folder), "weights_only": True})
        if subcommand == "predict":
            parser.set_defaults({"return_predictions": False})  # they are written batch by batch
        if subcommand == "fit":
            parser.set_defaults({"ckpt_path": "last"})
            for name, callback in _FIT_CALLBACKS.items():
                parser.add_lightning_class_args(callback, name)
        return parser

    def _parse_ckpt_path(self) -> None:
        """Keep the written config: Lightning would lay the checkpoint's hyper-parameters over it."""

    def before_instantiate_classes(self) -> None:
        """Settle the run folder and the checkpoint, and refuse to continue or to score a run with other settings."""
        settings = self.config[self.subcommand]
        self.run_folder = Path(settings.trainer.default_root_dir)
        _leave_out_what_is_switched_off(settings.trainer)
        self._dump_config()
        if self.subcommand == "fit" and not settings.trainer.fast_dev_run:
            check_continues(self.run_folder, self.config_dump)
        self._checkpoint = self._find_checkpoint(settings.ckpt_path, bool(settings.trainer.fast_dev_run))
        if self._checkpoint is not None:
            read_file(Path(self._checkpoint), mmap=True)  # a broken file is one line, not lightning's traceback
            if self.subcommand in ("validate", "test"):  # `predict` scores nothing
                check_same_split(Path(self._checkpoint), self.config_dump)

    def _find_checkpoint(self, asked: str | None, trial: bool) -> str | None:
        """The file that ``--ckpt_path asked`` means. ``trial`` runs (fast_dev_run) neither read nor write the run."""
        last, fitting, run = last_checkpoint(self.run_folder), self.subcommand == "fit", self.run_folder
        if asked in ("last", "best") and (last is None or (trial and fitting)):
            if fitting:
                return None
            raise UserError(f"no last*.ckpt below {run}: run fit first, or give --ckpt_path FILE")
        if asked == "last":
            return str(whole_checkpoint(last))  # type: ignore[arg-type]
        if asked == "best" and last is not None:
            return str(best_checkpoint(last))
        if asked is None and last is not None and fitting and not trial:
            raise UserError(
                f"{run} holds {last.name}, which a run from the start would overwrite: continue with "
                f"--ckpt_path last, or choose --trainer.default_root_dir OTHER, or delete {run}"
            )
        if asked is None and last is not None and not fitting:
            rank_zero_info(f"{self.subcommand}: weights as the task builds them; --ckpt_path last takes {last}")
        if asked is not None and not Path(asked).is_file():
            raise UserError(f"checkpoint {asked} does not exist; give a file, `last`, `best`, or null for none")
        return asked

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Lightning's complaint about a setting of the trainer, such as an absent accelerator, as one line."""
        try:
            settings = self.config_init[self.subcommand].trainer
            callbacks = always_on(self.model, _listed(settings.callbacks), self._best_checkpoints(settings))
            return super().instantiate_trainer(
                plugins=_plugins(_listed(settings.plugins)), callbacks=callbacks, **kwargs
            )
        except ValueError as error:
            raise UserError(f"trainer: {' '.join(str(error).split())}") from None

    def _best_checkpoints(self, trainer: Namespace) -> str | None:
        """Where a best checkpoint goes; None where none is chosen."""
        validates = trainer.limit_val_batches != 0 and trainer.enable_checkpointing is not False
        return str(self.run_folder / "checkpoints") if self.subcommand == "fit" and validates else None

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        return super()._prepare_subcommand_kwargs(subcommand) | {"ckpt_path": self._checkpoint}

    def _run_subcommand(self, subcommand: str) -> None:
        try:
            super()._run_subcommand(subcommand)
        except SystemExit as leaving:
            interrupted = isinstance(leaving.__context__, KeyboardInterrupt)  # Lightning turns Ctrl-C into exit(1)
            if not interrupted and not isinstance(leaving, SIGTERMException):
                raise
            last = last_checkpoint(self.run_folder)
            again = f"continues from {last}" if last else "starts again: no checkpoint was written yet"
            if interrupted:
                raise KeyboardInterrupt(f"the same command {again}") from None
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
    with _one_line_errors(argv[0]):
        TrainingCLI(*_classes(), argv)


class CommandReader(TrainingCLI):
    """The parser of ``subcommand``, built once: reads command lines as the subcommand would, and runs nothing."""

    def __init__(self, subcommand: str) -> None:
        with suppress(_ParserBuilt):
            super().__init__(*_classes(), [subcommand])
        self.name = subcommand

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        raise _ParserBuilt

    def settings(self, argv: Sequence[str]) -> dict[str, Any]:
        """The effective config of ``argv`` = [subcommand, …]; raises as :func:`run_training` does."""
        with _one_line_errors(argv[0]):
            config = self.parser.parse_args(list(argv))[self.name]
            _leave_out_what_is_switched_off(config.trainer)
            parser = self._parser(self.name)
            settings: dict[str, Any] = yaml.safe_load(parser.dump(config, skip_none=False))
            return settings


class _ParserBuilt(Exception):
    pass


def _classes() -> tuple[type[LightningModule], type[LightningDataModule]]:
    silence_noise()
    set_parsing_settings(omegaconf_absolute_to_relative_paths=True)
    for package in _HOLDING_CLASSES:
        import_all(package)
    return base_classes()


@contextmanager
def _one_line_errors(subcommand: str) -> Iterator[None]:
    """Turns what the libraries raise for a user's mistake into UserError and UsageError."""
    try:
        yield
    except argparse.ArgumentError as error:
        task, data = base_classes()
        bases = {"model": task, "data": data, "trainer.callbacks": Callback, "trainer.logger": Logger}
        raise UsageError(Explainer(subcommand, bases, _option_names(subcommand)).explain(str(error))) from None
    except OmegaConfBaseException as error:
        raise UsageError(_explain_reference(str(error), subcommand)) from None
    except MisconfigurationException as error:
        raise UserError(one_line(str(error))) from None
    except ValueError as error:
        raise _user_error_behind(error) or _lightnings_complaint(error) or error from None
    except SystemExit as leaving:
        if leaving.code:
            raise


def _user_error_behind(error: BaseException) -> UserError | None:
    """A constructor's UserError, which jsonargparse wraps into errors about types."""
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, UserError):
            return behind
        behind = behind.__cause__ or behind.__context__
    return None


def _lightnings_complaint(error: ValueError) -> UserError | None:
    """What Lightning itself raises is about a setting, such as more steps between validations than an epoch has."""
    *_, last = walk_tb(error.__traceback__)
    inside = last[0].f_globals["__name__"].startswith("lightning.")
    return UserError(f"trainer: {one_line(str(error))}") if inside else None


def base_classes() -> tuple[type[LightningModule], type[LightningDataModule]]:
    """What ``model`` and ``data`` of a config must be."""
    from data_modules.base import DataModule
    from mpma_lightning.tasks.base import Task

    return Task, DataModule


def import_all(package: str) -> None:
    """Import every module of ``package``, so that its classes can be named without their path."""
    for module in pkgutil.walk_packages(import_module(package).__path__, f"{package}."):
        import_module(module.name)


def _listed(given: Any) -> list[Any]:
    """Lightning takes one, several or none."""
    return given if isinstance(given, list) else [] if given is None else [given]


def _plugins(given: list[Any]) -> list[Any]:
    """``given``, whole checkpoints, and under SLURM no re-queue by lightning, whose ``hpc_ckpt_*.ckpt`` is written from
    a signal handler in mid-step and wins over a newer ``last.ckpt`` ever after."""
    plugins = list(given)
    if not any(isinstance(plugin, CheckpointIO) for plugin in given):
        plugins.append(AtomicCheckpointIO())
    if not any(isinstance(plugin, ClusterEnvironment) for plugin in given) and SLURMEnvironment.detect():
        plugins.append(SLURMEnvironment(auto_requeue=False))
    return plugins


def _leave_out_what_is_switched_off(trainer: Namespace) -> None:
    """Without a logger or checkpoints, Lightning refuses the callbacks of defaults.yaml that serve them."""
    gone = {"LearningRateMonitor": trainer.logger is False, "ModelCheckpoint": trainer.enable_checkpointing is False}
    if isinstance(trainer.callbacks, list):
        trainer.callbacks = [it for it in trainer.callbacks if not gone.get(it.class_path.rpartition(".")[2])]


def _option_names(subcommand: str) -> list[str]:
    parser = ArgumentParser()
    names = parser.add_class_arguments(Trainer, "trainer", fail_untyped=False)
    names += parser.add_method_arguments(Trainer, subcommand, skip=LightningCLI.subcommands()[subcommand])
    for name, callback in _FIT_CALLBACKS.items() if subcommand == "fit" else ():
        names += parser.add_class_arguments(callback, name)
    return [*names, "config", "seed_everything", "model", "data", "trainer"]


def _explain_reference(message: str, subcommand: str) -> str:
    """``model.init_args.width: ${data.size} refers to a key that does not exist``."""
    place = re.search(r"full_key: (\S+)", message)
    where = f"{place[1].removeprefix(f'{subcommand}.')}: " if place else ""
    target = re.search(r"resolved to '([^']+)'", message) or re.search(r"Interpolation key '([^']+)'", message)
    if target is None:
        return f"{where}{one_line(message.partition('full_key')[0])}"
    name = target[1].removeprefix(f"{subcommand}.")
    return f"{where}${{{name}}} refers to a key that does not exist (in a part file, keys count from that file's top)"
