"""The last lines of a command: headline metrics, where the results are, and the command that comes next."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mpma_lightning.callbacks.predictions import Predictions
from mpma_lightning.cli.main import program, python
from mpma_lightning.evaluation.metric import declared
from mpma_lightning.runs.ending import ending, headlines, title
from mpma_lightning.runs.result import ResultRecord

_OF_FIT = ("--ckpt_path", "--non_finite", "--collapse", "--bad_samples", "--efficiency", "--verbose", "--return_pred")
"""Beginnings of options that other subcommands do not have, or read otherwise."""


def close(trainer: Any, subcommand: str, words: Sequence[str], every: bool) -> None:
    """Print to standard output, on rank 0.

    Args:
        trainer: that has run.
        subcommand: ``fit``, ``validate``, ``test`` or ``predict``.
        words: of the command line.
        every: all metrics, not the headlines alone.
    """
    record = next((it.record for it in trainer.callbacks if isinstance(it, ResultRecord)), None)
    if record is None or not trainer.is_global_zero:
        return
    folder, stage = Path(trainer.default_root_dir), "test/" if subcommand == "test" else "val/"
    values = {name.removeprefix(stage): value for name, value in record["metrics"].items() if name.startswith(stage)}
    known = {name: declared(name, said) for name, said in record["declared"].items()}
    results = "results.json" if subcommand == "fit" else f"results_{subcommand}.json"
    if subcommand == "predict":
        results = next(it.writer.file for it in trainer.callbacks if isinstance(it, Predictions))
    lines = [title(subcommand, record), *headlines(values, known, every)]
    if not every and len(values) > len(lines) - 1:
        where = "the results hold all" if subcommand == "fit" else "--verbose true shows all"
        lines.append(f"  ({len(values)} values; {where})")
    after = _next(subcommand, words, folder, results, record)
    print("", *lines, *ending(folder, results, after, subcommand != "predict"), sep="\n", flush=True)


def _next(subcommand: str, words: Sequence[str], folder: Path, results: str, record: dict[str, Any]) -> str:
    if subcommand == "predict":
        if results.endswith(".parquet"):
            return f"""{python()} -c "import pandas; print(pandas.read_parquet('{folder / results}'))\""""
        return f"{program()} test {shlex.join(_without_fit(words[1:]))}"
    if subcommand == "test":
        return f"{program()} report {shlex.quote(str(folder))}"
    following = "test" if record["split_sizes"].get("test") else "predict"
    return f"{program()} {following} {shlex.join(_without_fit(words[1:]))}"


def _without_fit(words: Sequence[str]) -> list[str]:
    """``words`` without the options of ``fit`` alone, and their values."""
    kept: list[str] = []
    dropped = False
    for word in words:
        if word.startswith("--") or word == "-c":
            dropped = word.startswith(_OF_FIT)
        if not dropped:
            kept.append(word)
    return kept
