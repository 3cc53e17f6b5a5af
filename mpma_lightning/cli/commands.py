"""What each command runs. Nothing heavy is imported before the command line has been looked at."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from jsonargparse import ArgumentParser

from data_modules.errors import UsageError
from mpma_lightning.cli.config_files import check_config_files, config_arguments
from mpma_lightning.cli.explain import Explainer
from mpma_lightning.cli.trust import take_flag


def training(argv: Sequence[str]) -> None:
    """[fit|validate|test|predict, …]; absent or broken config files are reported before torch is imported."""
    words, trusted = take_flag(argv)
    check_config_files(config_arguments(words), trusted)
    from mpma_lightning.cli.training import run_training

    run_training(words)


def phantom(argv: Sequence[str]) -> None:
    """``--out DIR [--patients N] … [--layouts NAMES]``."""
    from data_modules.phantom import write_phantom

    counts = _call(write_phantom, argv, "phantom")
    print(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()))


def tokenizer(argv: Sequence[str]) -> None:
    """``--texts FILE|FOLDER --out FILE [--vocab_size N]``."""
    from mpma_lightning.cli.tokenizer import train_tokenizer

    print(_call(train_tokenizer, argv, "tokenizer"))


def backbones(argv: Sequence[str]) -> None:
    """``[PATTERN]``: one line a backbone."""
    pattern = argv[0] if argv else None
    if len(argv) > 1 or (pattern or "").startswith("-"):
        if pattern in ("-h", "--help"):
            print(
                "usage: backbones [PATTERN]\n\nBackbones whose name contains or matches PATTERN, such as 'timm/vit_*'."
            )
            return
        raise UsageError(f"backbones takes one PATTERN at most, found {' '.join(argv)!r}; quote a pattern with *")
    from mpma_lightning.backbones import list_backbones

    found = list_backbones(pattern)
    if not found:
        raise UsageError(f"no backbone matches {pattern!r}; `backbones` alone lists the families")
    width = max(len(name) for name, _ in found)
    print("\n".join(f"{name:<{width}}  {description}" for name, description in found))


def _call(function: Callable[..., Any], argv: Sequence[str], command: str) -> Any:
    """Call ``function`` with the options in ``argv``."""
    parser = ArgumentParser(prog=f"python -m mpma_lightning {command}", exit_on_error=False)
    options = parser.add_function_arguments(function)
    try:
        arguments = parser.parse_args(list(argv))
    except argparse.ArgumentError as error:
        raise UsageError(Explainer(command, {}, options).explain(str(error))) from None
    except SystemExit:  # --help was printed
        return {}
    return function(**arguments.as_dict())
