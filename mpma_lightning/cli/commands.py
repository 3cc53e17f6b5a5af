"""The functions behind the commands. Heavy packages are imported only after the command line has been read."""

from argparse import ArgumentError
from collections.abc import Callable, Sequence
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from data_modules.errors import UsageError
from mpma_lightning.cli.class_help import asked_class, class_help
from mpma_lightning.cli.config_files import check_config_files, config_arguments
from mpma_lightning.cli.explain import Explainer
from mpma_lightning.cli.short_help import asks_for_help, short_help
from mpma_lightning.cli.trust import take_flag

_BACKBONES_HELP = """usage: python -m mpma_lightning backbones [PATTERN]

Lists the backbones whose name contains or matches PATTERN, such as 'timm/vit_*' (quote the *). Without PATTERN: the
backbones of this package, the families of timm and Hugging Face, and the parts that a backbone is made of."""


def training(argv: Sequence[str]) -> None:
    """[fit|validate|test|predict, …]; help and absent or broken config files need no torch."""
    words, trusted = take_flag(argv)
    start = f"python -m mpma_lightning {words[0]}"
    if (asked := asked_class(words)) is not None:
        print(class_help(start, *asked))
        return
    if asks_for_help(words):
        if "all" not in words:
            print(short_help(words[0], start))
            return
        words = [words[0], "--help"]
    check_config_files(config_arguments(words), trusted)
    from mpma_lightning.cli.training import run_training

    run_training(words)


def phantom(argv: Sequence[str]) -> None:
    """``--out DIR [--patients N] … [--layouts NAMES]``."""
    from data_modules.phantom import write_phantom

    counts = _call(write_phantom, argv, "phantom")
    print(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()))


def tokenizer(argv: Sequence[str]) -> None:
    """``--texts FILE|FOLDER --out FILE [--vocab_size N] [--min_count N]``."""
    from mpma_lightning.cli.tokenizer import train_tokenizer

    print(_call(train_tokenizer, argv, "tokenizer"))


def export(argv: Sequence[str]) -> None:
    """``RUN --to timm|transformers|safetensors --out DIR [--push REPO]``."""
    from mpma_lightning.exports import export as write

    files = _call(write, ["--run", *argv] if argv and not argv[0].startswith("-") else argv, "export")
    print("\n".join(files))


def backbones(argv: Sequence[str]) -> None:
    """``[PATTERN]``: one line a backbone."""
    pattern = argv[0] if argv else None
    if len(argv) > 1 or (pattern or "").startswith("-"):
        if pattern in ("-h", "--help"):
            print(_BACKBONES_HELP)
            return
        raise UsageError(f"backbones takes one PATTERN at most, found {' '.join(argv)!r}; quote a pattern with *")
    from mpma_lightning.backbones import list_backbones, list_parts

    found, parts = list_backbones(pattern), list_parts(pattern)
    if not found and not parts:
        raise UsageError(f"no backbone matches {pattern!r}; `backbones` alone lists the families")
    width = max(len(name) for name, _ in [*found, *parts])
    lines = {"": found, "\nparts of a backbone, written below model.backbone:": parts}
    for heading, entries in lines.items():
        if entries and heading:
            print(heading)
        for name, description in entries:
            print(f"{name:<{width}}  {description}")


def _call(function: Callable[..., Any], argv: Sequence[str], command: str) -> Any:
    """Call ``function``, whose arguments are the options in ``argv``."""
    parser = ArgumentParser(prog=f"python -m mpma_lightning {command}", exit_on_error=False)
    parser.add_function_arguments(function)
    return function(**parse(parser, argv, command).as_dict())


def parse(parser: ArgumentParser, argv: Sequence[str], command: str) -> Namespace:
    """The options in ``argv``; UsageError in one line."""
    try:
        return parser.parse_args(list(argv))
    except ArgumentError as error:
        options = [action.dest for action in parser._actions]
        raise UsageError(Explainer(command, {}, options).explain(str(error))) from None
