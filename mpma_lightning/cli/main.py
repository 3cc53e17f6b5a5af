"""The command line: a table of commands, each imported when it is run, and every mistake as one line."""

import errno
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from data_modules.errors import UsageError, UserError, suggest
from mpma_lightning import __version__

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EACCES)
"""Errors of a disk that is full or may not be written."""
PROG = "python -m mpma_lightning"


@dataclass(frozen=True)
class Command:
    """``help`` is its line in ``--help``; ``function`` is "module:name" of a function that takes the arguments."""

    help: str
    function: str
    passes_name: bool = False

    def run(self, name: str, arguments: Sequence[str]) -> None:
        """Import the function and call it with ``arguments``."""
        module, _, attribute = self.function.partition(":")
        function: Callable[[list[str]], object] = getattr(import_module(module), attribute)
        function([name, *arguments] if self.passes_name else list(arguments))


def _training(help_line: str) -> Command:
    return Command(help_line, "mpma_lightning.cli.commands:training", passes_name=True)


COMMANDS = {
    "fit": _training("train the experiment of --config FILE; the same command again continues the run"),
    "validate": _training("compute the metrics of the validation split"),
    "test": _training("compute the metrics of the test split"),
    "predict": _training("write the predictions for every sample"),
    "sweep": Command(
        "run all trials of a sweep file; the same command again runs what is left",
        "mpma_lightning.lab.sweeps.command:main",
    ),
    "report": Command(
        "write tables and a web page of the results below a folder", "mpma_lightning.lab.reports.command:main"
    ),
    "figure": Command("draw one figure of a run for a paper", "mpma_lightning.lab.figures.command:main"),
    "app": Command("open a page on this computer to try a run on images", "mpma_lightning.lab.app.command:main"),
    "demo": Command("run the whole method on synthetic data, on a CPU", "mpma_lightning.cli.demo:main"),
    "phantom": Command("write synthetic radiographs and reports", "mpma_lightning.cli.commands:phantom"),
    "check": Command(
        "report what is missing, broken or in two splits in a data set", "mpma_lightning.cli.data_commands:check"
    ),
    "split": Command(
        "draw a split by patient, stratified by label, and write it to a file", "mpma_lightning.cli.data_commands:split"
    ),
    "prepare": Command(
        "shrink all images once and store them for fast reading", "mpma_lightning.cli.data_commands:prepare"
    ),
    "backbones": Command("list the backbones by name", "mpma_lightning.cli.commands:backbones"),
    "export": Command(
        "write the encoders of a run as a folder of timm, transformers or safetensors",
        "mpma_lightning.cli.commands:export",
    ),
    "experiments": Command(
        "copy the shipped experiments into a folder, to run and to change", "mpma_lightning.cli.experiments:main"
    ),
    "tokenizer": Command("train a tokeniser on report texts", "mpma_lightning.cli.commands:tokenizer"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (default: ``sys.argv``). Returns 0, 1 (cannot be done), 2 (cannot be read) or 130 (Ctrl-C)."""
    try:
        run(sys.argv[1:] if argv is None else argv)
    except UsageError as error:
        return _report(f"error: {error}", 2)
    except UserError as error:
        return _report(f"error: {error}", 1)
    except BrokenPipeError:  # `| head`
        sys.stderr.close()
    except OSError as error:
        if error.errno not in _DISK:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _report(f"error: {where}{error.strerror}; make room or give write permission, then run it again", 1)
    except KeyboardInterrupt as stop:
        return _report(f"interrupted{f': {stop}' if str(stop) else ''}", 130)
    except SystemExit as leaving:
        if leaving.code:
            raise
    return 0


def run(argv: Sequence[str]) -> None:
    """Like :func:`main`, but errors are raised: UserError, its child UsageError, KeyboardInterrupt."""
    if not argv or argv[0] in ("-h", "--help"):
        print(_help())
    elif argv[0] == "--version":
        print(__version__)
    elif argv[0] in COMMANDS:
        COMMANDS[argv[0]].run(argv[0], argv[1:])
    else:
        raise UsageError(f"unknown command '{argv[0]}'{suggest(argv[0], COMMANDS)}")


def program() -> str:
    """How a shell in this folder starts this program."""
    return f"{python()} -m mpma_lightning"


def python() -> str:
    """How a shell in this folder starts this Python: ``.venv/bin/python`` where the environment is not activated."""
    if shutil.which("python") == sys.executable:
        return "python"
    path = Path(sys.executable)
    with suppress(ValueError):
        path = path.relative_to(Path.cwd())
    return shlex.quote(str(path))


def _report(line: str, code: int) -> int:
    print(line, file=sys.stderr)
    return code


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.help}" for name, command in COMMANDS.items()]
    return f"""usage: {PROG} COMMAND ...

{chr(10).join(lines)}

examples:
  {PROG} demo
  {PROG} fit --config experiments/demo/pretraining.yaml --trainer.default_root_dir runs/first

`{PROG} COMMAND --help` lists the options of a command. Configs can run code: with --trust, those of fit, validate,
test, predict and sweep may name classes of any package; without it, only of known ones."""
